"""Which weights a run's numbers touched, under which licences, and whether commercial use is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from floatbench import weights
from floatbench.errors import UsageError
from floatbench.reports.loading import RecordedRun

PERMISSIVE = ("apache-2.0", "mit", "bsd", "cc0", "cc by 4.0", "cc-by-4.0", "public domain", "none")
RESTRICTED = re.compile(r"\bnc\b|non-?commercial|research|academic")


@dataclass(frozen=True)
class Licence:
    """One use of weights: by a metric variant or a method; `commercial` is False unless it is clearly allowed."""

    used_by: str
    weights: str
    licence: str
    commercial: bool


def licences(run: RecordedRun, variants: Sequence[str] | None = None) -> list[Licence]:
    """Every weight file behind the metric variants (default: all) and the systems of a run."""
    found = []
    for variant, record in run.scores.metrics.items():
        if variants is not None and variant not in variants:
            continue
        found += [Licence(variant, name, text, _commercial(name, text)) for name, text in record.licences.items()]
    for name in run.systems:
        described = run.scores.methods[name]
        text = str(described.get("licence") or "")
        files = sorted(described.get("weights") or ()) or ["the method itself"]
        known = {file: _commercial(file, text) for file in files}
        found += [
            Licence(
                name, file, weights.entry(file).licence if file in weights.names() else text or "not stated", allowed
            )
            for file, allowed in known.items()
        ]
    return found


def _commercial(name: str, text: str) -> bool:
    if name in weights.names():
        return weights.entry(name).commercial
    parts = [part.strip().lower() for part in text.split(";")]
    return all(part.startswith(PERMISSIVE) and not RESTRICTED.search(part) for part in parts)


def refuse_restricted(runs: Sequence[RecordedRun], variants: Sequence[str] | None = None) -> None:
    """UsageError that lists every weight without a clear permission of commercial use."""
    bad = [found for run in runs for found in licences(run, variants) if not found.commercial]
    if bad:
        listed = "; ".join(f"{item.used_by}: {item.weights} ({item.licence})" for item in dict.fromkeys(bad))
        raise UsageError(
            f"not clearly free for commercial use: {listed}",
            fix="choose metrics and methods with permissive weights, for example --metrics efid-mp52,pfid-mp6",
        )
