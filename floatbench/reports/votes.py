"""How well each metric agrees with what people chose: blind two-choice votes against the values of the same clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
from scipy.stats import kendalltau

from floatbench.errors import UsageError
from floatbench.files import file_sha256
from floatbench.metrics.statistics import clustered_bootstrap
from floatbench.records import RecordFile, Strict, read_record
from floatbench.reports.loading import RecordedRun
from floatbench.reports.page.tracks import RecordedTracks
from floatbench.reports.table import escape, number

SCHEMA_VERSION = 1
Choice = Literal["left", "right", "tie"]


class Vote(Strict):
    """One judged pair; methods by name."""

    clip: str
    left: str
    right: str
    choice: Choice
    seconds: float = 0.0


class VoteFile(RecordFile):
    """What the page saves: one person's answers to one question."""

    noun: ClassVar[str] = "file of votes"
    remedy: ClassVar[str] = "save the votes on the page"
    newest: ClassVar[int] = SCHEMA_VERSION

    kind: Literal["floatbench-votes"]
    schema_version: int
    protocol: str
    protocol_hash: str
    question: str
    voter: str = ""
    seed: int = 0
    votes: list[Vote]


@dataclass(frozen=True)
class Agreement:
    """One metric against the votes of one question.

    Attributes:
        pairs: decided votes on clips where the metric has a value for both videos.
        agreement: share of them in which the metric prefers the chosen video; equal values count a half.
        low, high: 95 % interval, identities drawn with replacement; None with fewer than two.
        correlation: Pearson r of the metric's difference (positive = left better) and the vote (1, 0, -1), ties in.
        rank_correlation: Kendall tau-b of the methods' scores and their shares of won votes; None below three methods.
    """

    question: str
    metric: str
    pairs: int
    agreement: float | None
    low: float | None
    high: float | None
    correlation: float | None
    rank_correlation: float | None
    methods: int


@dataclass(frozen=True)
class Votes:
    """All results: per question the counts, the methods' shares of won votes (a tie is half a win), the agreements."""

    voters: int
    votes: dict[str, int]
    ties: dict[str, int]
    wins: dict[str, dict[str, float]]
    agreements: list[Agreement]

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def read_votes(path: Path) -> VoteFile:
    """One file of votes.

    Raises:
        DataError: absent, no JSON, or another kind of file. UsageError: a newer schema, or no vote.
    """
    found = read_record(path, VoteFile)
    if not found.votes:
        raise UsageError(f"{path} holds no vote")
    return found


def correlate(paths: Sequence[Path], run: RecordedRun) -> Votes:
    """Votes of any number of people against the metrics of the run they looked at.

    Raises:
        UsageError: votes of another protocol, of unknown clips or methods, a file given twice.
        DataError: a damaged file.
    """
    files = [_fitting(path, run) for path in paths]
    refuse_doubles(paths)
    questions = list(dict.fromkeys(file.question for file in files))
    by_question = {q: [vote for file in files if file.question == q for vote in file.votes] for q in questions}
    recorded = RecordedTracks(run)
    agreements = [
        _agreement(question, metric, votes, run, recorded)
        for question, votes in by_question.items()
        for metric in run.scores.metrics
    ]
    return Votes(
        voters=len({file.voter or str(path) for file, path in zip(files, paths, strict=True)}),
        votes={question: len(votes) for question, votes in by_question.items()},
        ties={question: sum(vote.choice == "tie" for vote in votes) for question, votes in by_question.items()},
        wins={question: shares(votes) for question, votes in by_question.items()},
        agreements=agreements,
    )


def _fitting(path: Path, run: RecordedRun) -> VoteFile:
    found = read_votes(path)
    judged = [(vote.clip, name) for vote in found.votes for name in (vote.left, vote.right)]
    refuse_foreign(path, found.protocol, found.protocol_hash, judged, run)
    for vote in found.votes:
        if vote.left == vote.right:
            raise UsageError(f"{path}: {vote.clip!r} compares {vote.left!r} with itself")
    return found


def refuse_foreign(
    path: Path, protocol: str, protocol_hash: str, judged: Sequence[tuple[str, str]], run: RecordedRun
) -> None:
    """UsageError for judgements of another protocol than the run's, or of a (clip, method) that it does not have."""
    if protocol_hash != run.scores.protocol_hash:
        raise UsageError(
            f"{path} judges {protocol}, the run {run.folder} is of {run.scores.label}",
            fix="give the run whose page was voted on",
        )
    clips, methods = set(run.info.available), set(run.scores.methods)
    for clip, method in judged:
        if clip not in clips:
            raise UsageError(f"{path}: {run.folder} has no clip {clip!r}")
        if method not in methods:
            raise UsageError(f"{path}: {run.folder} has no method {method!r}")


def refuse_doubles(paths: Sequence[Path]) -> None:
    """UsageError for two files of one content."""
    seen: dict[str, Path] = {}
    for path in paths:
        digest = file_sha256(path)
        if digest in seen:
            raise UsageError(f"{path} holds the same votes as {seen[digest]}", fix="give each file once")
        seen[digest] = path


_LEFT_GAIN = {"left": 1.0, "tie": 0.5, "right": 0.0}


def shares(votes: Sequence[Vote]) -> dict[str, float]:
    """Method -> share of its votes that it won; a tie is half a win."""
    won: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        won[vote.left].append(_LEFT_GAIN[vote.choice])
        won[vote.right].append(1 - _LEFT_GAIN[vote.choice])
    return {name: float(np.mean(gains)) for name, gains in sorted(won.items())}


def _agreement(
    question: str, metric: str, votes: Sequence[Vote], run: RecordedRun, recorded: RecordedTracks
) -> Agreement:
    sign = 1.0 if run.scores.metrics[metric].higher_is_better else -1.0
    identities = {clip.id: clip.identity for clip in run.info.protocol.clips}
    agreed: dict[str, list[float]] = defaultdict(list)
    points: list[tuple[float, float]] = []
    for vote in votes:
        left, right = (recorded.value(name, vote.clip, metric) for name in (vote.left, vote.right))
        if left is None or right is None:
            continue
        better = sign * (left - right)
        gain = _LEFT_GAIN[vote.choice]
        points.append((better, 2 * gain - 1))
        if vote.choice != "tie":
            agreed[identities[vote.clip]].append(0.5 if better == 0 else float((better > 0) == (gain == 1)))
    decided = [value for values in agreed.values() for value in values]
    interval = clustered_bootstrap(agreed) if len(agreed) > 1 else None
    won = shares(votes)
    tau, count = rank_correlation(
        won, {name: sign * value for name in won if (value := score_of(run, name, metric)) is not None}
    )
    return Agreement(
        question=question,
        metric=metric,
        pairs=len(decided),
        agreement=float(np.mean(decided)) if decided else None,
        low=None if interval is None else max(0.0, interval.low),
        high=None if interval is None else min(1.0, interval.high),
        correlation=_pearson(points),
        rank_correlation=tau,
        methods=count,
    )


def score_of(run: RecordedRun, method: str, metric: str) -> float | None:
    """A system's score; None where there is none or it is void."""
    cell = run.cell(method, metric)
    return None if cell is None or cell.void else cell.value


def _pearson(points: Sequence[tuple[float, float]]) -> float | None:
    if len(points) < 3:
        return None
    x, y = np.array(points).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def rank_correlation(won: Mapping[Any, float], scores: Mapping[Any, float]) -> tuple[float | None, int]:
    """Kendall's tau-b over the names that have both, and their number; None below three and when one does not vary."""
    names = sorted(won.keys() & scores.keys())
    if len(names) < 3:
        return None, len(names)
    tau = cast(float, kendalltau([won[name] for name in names], [scores[name] for name in names])[0])
    return (float(tau) if np.isfinite(tau) else None), len(names)


def markdown(found: Votes) -> str:
    """Counts, shares of won votes and agreements as Markdown."""
    lines = []
    for question, count in found.votes.items():
        who = f"{found.voters} voter{'s' if found.voters != 1 else ''}"
        lines += [f"## {escape(question)}: {count} votes, {found.ties[question]} ties, {who}", ""]
        lines += ["| method | share of votes won |", "|---|---|"]
        ranked = sorted(found.wins[question].items(), key=lambda item: (-item[1], item[0]))
        lines += [f"| {escape(name)} | {number(share)} |" for name, share in ranked]
        lines += [
            "",
            "| metric | agrees with the vote | pairs | r per pair | tau over methods |",
            "|---|---|---|---|---|",
        ]
        for item in (item for item in found.agreements if item.question == question):
            if item.agreement is None:
                agreement = "no value for one clip"
            else:
                interval = "" if item.low is None or item.high is None else f" [{item.low:.2f}, {item.high:.2f}]"
                agreement = f"{item.agreement:.2f}{interval}"
            r = "none" if item.correlation is None else f"{item.correlation:+.2f}"
            tau = "none" if item.rank_correlation is None else f"{item.rank_correlation:+.2f} ({item.methods})"
            lines.append(f"| {item.metric} | {agreement} | {item.pairs} | {r} | {tau} |")
        lines.append("")
    lines.append(
        "Agreement: share of decided votes in which the metric prefers the chosen video (0.5 is chance), 95 % interval "
        "over identities. r: the metric's difference against the vote. tau: Kendall's, over the methods' scores."
    )
    return "\n".join(lines) + "\n"
