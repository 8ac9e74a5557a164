"""Mean opinion scores: what people gave each video, 1 to 5, and how well each metric ranks the systems as they do."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from floatbench.errors import UsageError
from floatbench.metrics.statistics import LEVEL, content_seed
from floatbench.records import RecordFile, Strict, read_record
from floatbench.reports.loading import RecordedRun
from floatbench.reports.page.tracks import RecordedTracks
from floatbench.reports.table import escape, number
from floatbench.reports.votes import rank_correlation, refuse_doubles, refuse_foreign, score_of

DRAWS = 2000
MAX_WRONG = 0.2
"""Share of wrong attention checks above which nothing of a rater counts: one slip in five, no more."""
Grade = Annotated[int, Field(ge=1, le=5)]


class AttentionCheck(Strict):
    """A question that only names the number to choose."""

    wanted: Grade
    given: Grade


class Rating(Strict):
    """What one person gave one video: question -> 1 (bad) to 5 (excellent)."""

    clip: str
    method: str
    scores: dict[str, Grade]
    check: AttentionCheck | None = None
    seconds: float = 0.0


class RatingFile(RecordFile):
    """What the page saves: one person's session."""

    noun: ClassVar[str] = "file of ratings"
    remedy: ClassVar[str] = "save the ratings on the page"

    kind: Literal["floatbench-ratings"]
    schema_version: int
    protocol: str
    protocol_hash: str
    voter: str = ""
    seed: int = 0
    order: list[str] = []
    ratings: list[Rating]


def holds_ratings(path: Path) -> bool:
    """True for a file that says it holds ratings; what else is wrong with it is said when it is read."""
    with suppress(OSError, ValueError, RecursionError):
        document = json.loads(path.read_bytes())
        return isinstance(document, dict) and document.get("kind") == "floatbench-ratings"
    return False


@dataclass(frozen=True)
class Opinion:
    """The mean opinion score of one system on one question.

    Attributes:
        low, high: 95 % interval over other raters and other people in the clips; None with fewer than two of either.
    """

    question: str
    method: str
    mean: float
    low: float | None
    high: float | None
    ratings: int
    raters: int
    clips: int


@dataclass(frozen=True)
class OpinionCorrelation:
    """Kendall's tau-b of one metric and one question, positive where the metric prefers what people rate higher.

    Attributes:
        systems: over the systems' scores and means; None below three of them. n_systems: their number.
        videos: over single videos, their metric's value and mean rating; None below three. n_videos: their number.
    """

    question: str
    metric: str
    systems: float | None
    n_systems: int
    videos: float | None
    n_videos: int


@dataclass(frozen=True)
class Opinions:
    """All results, and who was left out because of the attention checks (rater -> wrong of asked)."""

    raters: int
    checks: int
    left_out: dict[str, str]
    opinions: list[Opinion] = field(default_factory=list)
    correlations: list[OpinionCorrelation] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class _Given:
    """One number with what it depends on."""

    rater: str
    person: str
    clip: str
    method: str
    value: float


def opinions(paths: Sequence[Path], run: RecordedRun) -> Opinions:
    """Mean opinion scores of any number of raters, against the metrics of the run they looked at.

    Raises:
        UsageError: ratings of another protocol, of unknown clips or methods, one given twice, or nobody left.
        DataError: a damaged file.
    """
    refuse_doubles(paths)
    files = [_fitting(path, run) for path in paths]
    names = [file.voter or path.stem for file, path in zip(files, paths, strict=True)]
    asked: dict[str, list[bool]] = defaultdict(list)
    for name, file in zip(names, files, strict=True):
        asked[name] += [check.wanted == check.given for rating in file.ratings if (check := rating.check)]
    wrong = {name: (held.count(False), len(held)) for name, held in asked.items() if held.count(False)}
    left_out = {name: f"{bad} of {count}" for name, (bad, count) in wrong.items() if bad > MAX_WRONG * count}
    by_question = _collected(names, files, paths, run, left_out)
    if not by_question:
        raise UsageError("no rating is left", fix="see which raters miss the attention checks: " + ", ".join(left_out))
    recorded = RecordedTracks(run)
    return Opinions(
        raters=len(set(names)),
        checks=sum(map(len, asked.values())),
        left_out=left_out,
        opinions=[one for question, given in by_question.items() for one in _means(question, given)],
        correlations=[
            _correlation(question, metric, given, run, recorded)
            for question, given in by_question.items()
            for metric in run.scores.metrics
        ],
    )


def _fitting(path: Path, run: RecordedRun) -> RatingFile:
    found = read_record(path, RatingFile)
    if not found.ratings:
        raise UsageError(f"{path} holds no rating")
    refuse_foreign(path, found.protocol, found.protocol_hash, [(r.clip, r.method) for r in found.ratings], run)
    return found


def _collected(
    names: Sequence[str],
    files: Sequence[RatingFile],
    paths: Sequence[Path],
    run: RecordedRun,
    left_out: Collection[str],
) -> dict[str, list[_Given]]:
    """Question -> everything that counts; UsageError where one rater's video comes twice in one session."""
    people = {clip.id: clip.identity for clip in run.info.protocol.clips}
    found: dict[str, list[_Given]] = defaultdict(list)
    seen: dict[tuple[str, int, str, str], Path] = {}
    for name, file, path in zip(names, files, paths, strict=True):
        for rating in file.ratings:
            key = (name, file.seed, rating.clip, rating.method)
            if key in seen:
                raise UsageError(
                    f"{path} rates {rating.method} on {rating.clip!r} as {seen[key]} does, in the same session",
                    fix="give the last file of each session only",
                )
            seen[key] = path
            for question, value in rating.scores.items() if name not in left_out else ():
                found[question].append(_Given(name, people[rating.clip], rating.clip, rating.method, value))
    return found


def _means(question: str, given: Sequence[_Given]) -> list[Opinion]:
    """One opinion per system, best first."""
    found = []
    for method in sorted({one.method for one in given}):
        mine = [one for one in given if one.method == method]
        low, high = _interval(question, mine)
        mean = float(np.mean([one.value for one in mine]))
        raters, clips = {one.rater for one in mine}, {one.clip for one in mine}
        found.append(Opinion(question, method, mean, low, high, len(mine), len(raters), len(clips)))
    return sorted(found, key=lambda one: (-one.mean, one.method))


def _interval(question: str, given: Sequence[_Given]) -> tuple[float | None, float | None]:
    """Raters and people of the clips drawn with replacement, each by itself (Owen 2007): wide rather than narrow."""
    raters, people = sorted({one.rater for one in given}), sorted({one.person for one in given})
    if min(len(raters), len(people)) < 2:
        return None, None
    sums, counts = np.zeros((2, len(raters), len(people)))
    for one in given:
        place = raters.index(one.rater), people.index(one.person)
        sums[place] += one.value
        counts[place] += 1
    random = np.random.default_rng([content_seed(question), len(raters), len(people)])
    of_raters, of_people = (
        random.multinomial(size, np.full(size, 1 / size), DRAWS).astype(float) for size in counts.shape
    )
    total, n = (((of_raters @ table) * of_people).sum(1) for table in (sums, counts))
    drawn = total[n > 0] / n[n > 0]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _correlation(
    question: str, metric: str, given: Sequence[_Given], run: RecordedRun, recorded: RecordedTracks
) -> OpinionCorrelation:
    sign = 1.0 if run.scores.metrics[metric].higher_is_better else -1.0
    of_systems: dict[str, list[float]] = defaultdict(list)
    of_videos: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in given:
        of_systems[one.method].append(one.value)
        of_videos[one.method, one.clip].append(one.value)
    scores = {name: sign * value for name in of_systems if (value := score_of(run, name, metric)) is not None}
    values = {key: sign * value for key in of_videos if (value := recorded.value(*key, metric)) is not None}
    systems, n_systems = rank_correlation({name: float(np.mean(v)) for name, v in of_systems.items()}, scores)
    videos, n_videos = rank_correlation({key: float(np.mean(v)) for key, v in of_videos.items()}, values)
    return OpinionCorrelation(question, metric, systems, n_systems, videos, n_videos)


def ratings_markdown(found: Opinions) -> str:
    """Means and rank correlations as Markdown."""
    questions = list(dict.fromkeys(one.question for one in found.opinions))
    lines = [f"## Mean opinion scores: {found.raters} raters, {found.checks} attention checks", ""]
    for question in questions:
        lines += [f"### {escape(question)}", "", "| method | mean, 1 to 5 | ratings | raters | clips |"]
        lines += ["|---|---|---|---|---|"]
        for one in (one for one in found.opinions if one.question == question):
            interval = "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]"
            lines.append(
                f"| {escape(one.method)} | {one.mean:.2f}{interval} | {one.ratings} | {one.raters} | {one.clips} |"
            )
        lines += ["", "| metric | tau over systems | tau over videos |", "|---|---|---|"]
        for one in (one for one in found.correlations if one.question == question):
            cells = ((one.systems, one.n_systems), (one.videos, one.n_videos))
            shown = ("none" if tau is None else f"{tau:+.2f} ({number(n)})" for tau, n in cells)
            lines.append(f"| {one.metric} | {' | '.join(shown)} |")
        lines.append("")
    if found.left_out:
        names = ", ".join(f"{escape(name)} ({wrong} checks wrong)" for name, wrong in found.left_out.items())
        lines += [f"Left out: {names}.", ""]
    lines.append(
        "Interval: 95 %, raters and the people in the clips drawn with replacement; none with fewer than two of "
        "either. tau: Kendall's tau-b, positive where the metric prefers what people rate higher."
    )
    return "\n".join(lines) + "\n"
