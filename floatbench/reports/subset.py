"""A finished run on some of its clips: scored again from its features, nothing is generated or decoded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from floatbench.engine.features import FeatureStore
from floatbench.engine.merge import plan_of
from floatbench.engine.reduction import Reducer, kept_scores
from floatbench.engine.scoring import score_all
from floatbench.errors import DataError
from floatbench.protocol.overlap import disjoint_clips, overlap_notes
from floatbench.reports.loading import RecordedRun


def disjoint_from(run: RecordedRun, name: str) -> RecordedRun:
    """The run on the clips whose people are not in a training list, see floatbench.protocol.overlap.disjoint_clips."""
    clips = disjoint_clips(run.info.protocol, name, run.info.available)
    return restricted(run, clips, f"only the {len(clips)} clips of people who are not in the training list of {name}")


def restricted(run: RecordedRun, clips: Collection[str], why: str) -> RecordedRun:
    """A run on some of its clips, with intervals and coverage of those; never ranked.

    Args:
        why: what the clips are, for the notes.

    Raises:
        DataError: features are no longer in the run's folder.
        UsageError: a metric that this installation does not have.
    """
    kept = [clip.id for clip in run.info.protocol.clips if clip.id in clips and clip.id in run.info.available]
    info = run.info.model_copy(update={"available": kept})
    rows = {key: row for key, row in run.rows.items() if row.clip in set(kept)}
    plan, store = plan_of(info), FeatureStore(run.folder, None)
    plan = replace(plan, methods={name: record for name, record in plan.methods.items() if name in run.scores.methods})
    _refuse_lost(RecordedRun(run.folder, info, run.scores, rows), store)
    every = [clip for clip in run.info.protocol.clips if clip.id in run.info.available]
    stale = overlap_notes(every, run.scores.methods)
    notes = [note for note in run.scores.notes if note not in stale]
    scores = run.scores.model_copy(
        update={
            "n_available": len(kept),
            "ranked": False,
            "unranked_because": [*run.scores.unranked_because, why],
            "notes": [*notes, *overlap_notes(plan.available, run.scores.methods)],
            "scores": score_all(plan, rows, store, lambda note: None, Reducer(store, kept_scores())),
        }
    )
    return RecordedRun(run.folder, info, scores, rows)


def _refuse_lost(run: RecordedRun, store: FeatureStore) -> None:
    needed = {name for record in run.scores.metrics.values() for name in record.backbones}
    for row in run.rows.values():
        for side in row.features.values():
            lost = next((name for name, key in side.items() if name in needed and not store.has(key)), None)
            if lost is not None:
                raise DataError(
                    f"{run.folder}: the features of {lost} of {row.method}, {row.clip} are gone",
                    fix="run the same command again",
                )
