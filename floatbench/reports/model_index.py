"""An entry of the leaderboard as the evaluation metadata of a model card on the Hugging Face Hub."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from floatbench.engine.records import ScoreRow
from floatbench.reports.leaderboard import BoardEntry

TASK = ("image-to-video", "Audio-driven talking portrait")
"""The Hub's task that takes a picture and gives a video, and what it is called here."""


def eval_results(entry: BoardEntry) -> list[EvalResult]:
    """One result per metric of the entry's system, with the interval, the counts and the protocol's hash."""
    scores = entry.scores
    protocol = {
        "protocol": scores.label, "protocol_hash": scores.protocol_hash, "seed": scores.seed, "entry": entry.id,
    }  # fmt: skip
    return [
        EvalResult(
            task_type=TASK[0],
            task_name=TASK[1],
            dataset_type=scores.protocol,
            dataset_name=scores.label,
            dataset_args=protocol,
            metric_type=cell.metric,
            metric_name=scores.metrics[cell.metric].column,
            metric_value=cell.value,
            metric_args=_judged_by(entry, cell),
        )
        for cell in entry.cells
        if cell.value is not None
    ]


def _judged_by(entry: BoardEntry, cell: ScoreRow) -> dict[str, object]:
    """What is needed to judge a number."""
    metric = entry.scores.metrics[cell.metric]
    found: dict[str, object] = {
        "higher_is_better": metric.higher_is_better,
        "clips": cell.n,
        "of_clips": cell.n_protocol,
        "small_networks": metric.tiny,
    }
    if cell.interval:
        found["interval"] = [cell.interval["low"], cell.interval["high"]]
        found["level"] = cell.interval["level"]
    return found


def model_index(entry: BoardEntry, model: str = "") -> ModelCardData:
    """The block `model-index` of a card; `to_dict()` and `to_yaml()` give it.

    Args:
        model: the model's name there; default: the system's on the board.
    """
    return ModelCardData(model_name=model or entry.system, eval_results=eval_results(entry))
