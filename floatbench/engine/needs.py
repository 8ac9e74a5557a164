"""Which weight files a protocol, a metric, a method or a command needs."""

from __future__ import annotations

from floatbench import weights
from floatbench.errors import UsageError
from floatbench.metrics import registry, sets
from floatbench.protocol.load import built_in, load_protocol
from floatbench.text import near

FLOAT = ("float", *weights.SPEECH)
BOXES = {"s3fd": ("s3fd-face-alignment",), "mediapipe": ("mediapipe-face-landmarker",)}
COMMANDS = {
    "generate": (*FLOAT, *BOXES["s3fd"]),
    "demo": (*FLOAT, *BOXES["s3fd"]),
    "web": (*FLOAT, *BOXES["s3fd"]),
    "train": ("vgg19", *weights.SPEECH, *BOXES["s3fd"], *BOXES["mediapipe"]),
    "ablate": ("vgg19", *weights.SPEECH, *BOXES["s3fd"], *BOXES["mediapipe"], "hsemotion"),
}
"""Commands that open weights by themselves. `score` and `run` take a metric or a protocol instead."""


def needed(what: str) -> tuple[str, ...]:
    """Names of the registry, in the table's order, that `what` opens when everything it offers is used.

    Args:
        what: a command (`generate`, `demo`, `train`, ...), a protocol (by name, `folder:DIR` or file), a metric
            variant or set, or a method (`float`, with or without its choices).

    Raises:
        UsageError: nothing of that name, or a baseline, which `floatbench baseline install` serves.
    """
    found = _names(what)
    return tuple(name for name in weights.names() if name in found)


def _names(what: str) -> set[str]:
    method, _, choices = what.partition("?")
    if what in COMMANDS:
        return set(COMMANDS[what])
    if method == "float":
        return {*FLOAT, *(("hsemotion",) if "image" in choices else ())}
    if what in registry.metric_ids() or what in sets.names():
        return _of_metrics([what])
    if what in built_in() or what.startswith("folder:") or what.endswith(".toml"):
        protocol = load_protocol(what)
        return _of_metrics(protocol.metrics) | set(BOXES.get(protocol.preprocessing.boxes, ()))
    from floatbench.baselines import manifest

    if method in manifest.names():
        raise UsageError(f"{method} brings its own weights", fix=f"floatbench baseline install {method}")
    known = [*COMMANDS, "float", *built_in(), *registry.metric_ids(), *sets.names()]
    raise UsageError(f"nothing named {what!r} needs weights", fix=near(what, known, f"one of {', '.join(COMMANDS)}"))


def _of_metrics(variants: tuple[str, ...] | list[str]) -> set[str]:
    backbones = {name for variant in sets.expanded(variants) for name in registry.metric(variant).info.backbones}
    return {name for backbone in backbones for name in registry.backbone(backbone).weights}
