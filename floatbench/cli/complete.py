"""What the shell offers for a value: protocols, weights, metrics, methods, clips and baselines by name.

A shell waits for each press of the key, so nothing here imports torch: what only the metrics themselves know is written
down below, and a test holds it to them. Names of plugins are understood by the commands, but not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

METRICS = (
    "aed", "aed-mp52", "aed-tiny", "apd", "apd-mp6", "avcorr", "avcorr-excess", "avcorr-lips", "avcorr-lips-excess",
    "beat-align", "blinks", "blinks-gap", "cmmd", "control-leak", "csim-gt", "csim-gt-torch-r100", "csim-gt-torch-r50",
    "csim-source", "csim-source-torch-r100", "csim-source-torch-r50", "csim-tiny", "desync", "drift-avcorr",
    "drift-colour", "drift-colour-frame", "drift-csim", "drift-csim-tiny", "drift-lips", "drift-lse-c", "drift-lse-d",
    "drift-lse-tiny-c", "drift-lse-tiny-d", "drift-place", "drift-place-tiny", "drift-sharpness",
    "drift-sharpness-frame", "dtw-head", "dtw-lips", "efid", "efid-hold", "efid-mp52", "efid-tiny", "ekid",
    "ekid-mp52", "ekid-tiny", "emo-acc", "emo-fid", "emo-prob", "fid", "fid-192", "fid-64", "fid-768", "fid-antialias",
    "fid-clean", "fid-tiny", "flicker", "flicker-face", "flicker-face-gap", "flicker-gap", "fvd", "fvd-first16",
    "fvd-offset20", "fvd-sliding1", "fvd-styleganv", "fvd-tiny", "fvd-torchscript", "fvd-videogpt", "fvd-videomae",
    "gaze", "gaze-gap", "head-div", "head-div-gap", "head-motion", "head-motion-gap", "jedi", "judge-acc-avcorr",
    "judge-acc-avcorr-lips", "judge-acc-desync", "judge-acc-lse-direct", "judge-acc-lse-ffmpeg", "judge-acc-lse-tiny",
    "judge-acc-lse-wholeframe", "judge-acc-theval-lipsync", "kid", "kid-tiny", "kvd", "kvd-tiny", "lip-dynamics",
    "lip-dynamics-gap", "lmd", "lmd-mouth", "lpips-alex", "lse-direct-c", "lse-direct-c-75", "lse-direct-d",
    "lse-ffmpeg-c", "lse-ffmpeg-c-75", "lse-ffmpeg-d", "lse-tiny-c", "lse-tiny-d", "lse-wholeframe-c",
    "lse-wholeframe-c-75", "lse-wholeframe-d", "pfid-aligned", "pfid-aligned-hold", "pfid-fixedcrop", "pfid-mp6",
    "pfid-tiny", "psnr-grey128", "psnr-rgb", "smooth", "smooth-gap", "ssim-grey128", "ssim-rgb", "theval-brows",
    "theval-brows-gap", "theval-head-motion-mp", "theval-head-motion-mp-gap", "theval-lip-dynamics",
    "theval-lip-dynamics-gap", "theval-lipsync", "theval-lipsync-gap", "theval-silent-lips", "theval-silent-lips-gap",
)  # fmt: skip
SETS = ("paper", "theval", "sync", "emotion", "pictures", "motion", "drift", "recent", "all")
CONTROLS = (
    "reference", "reencoded", "frozen", "frozen-reencoded", "shifted:5", "shifted:20", "swapped", "wrong-identity",
)  # fmt: skip
MODELS = ("float", "float-tiny")
SAMPLE = "float-official-sample"


def _protocols(context: Any) -> list[str]:
    from floatbench.paths import shipped

    return sorted(path.stem for path in shipped("protocols").glob("*.toml"))


def _weights(context: Any) -> list[str]:
    from floatbench.weights import names

    return names()


def _baselines(context: Any) -> list[str]:
    from floatbench.baselines.manifest import names

    return names()


def _metrics(context: Any) -> Iterable[str]:
    return METRICS


def _metrics_and_sets(context: Any) -> Iterable[str]:
    return (*METRICS, *SETS)


def _methods(context: Any) -> list[str]:
    return [*MODELS, *_baselines(context), SAMPLE, *CONTROLS, "videos:"]


def _clips(context: Any) -> list[str]:
    """Those of the protocol that stands before it on the line."""
    from floatbench.errors import FloatbenchError
    from floatbench.protocol.load import load_protocol

    try:
        return [clip.id for clip in load_protocol(context.params.get("protocol") or "").clips]
    except FloatbenchError:
        return []


def _purposes(context: Any) -> list[str]:
    return [*_protocols(context), "float", "generate", "demo", "web", "train", "ablate", *METRICS, *SETS]


Offer = Callable[[Any], Iterable[str]]
OFFERS: dict[tuple[str, str], Offer] = {
    ("", "protocol"): _protocols,
    ("", "metrics"): _metrics_and_sets,
    ("", "methods"): _methods,
    ("run", "clips"): _clips,
    ("weights", "name"): _weights,
    ("weights", "names"): _weights,
    ("weights", "used_by"): _metrics,
    ("weights", "for"): _purposes,
    ("metrics", "variant"): _metrics,
    ("baseline", "name"): _baselines,
}
"""(command or group, empty for any; option or argument) -> what is offered."""
LISTS = ("metrics", "methods", "clips")
"""Options that take several names with commas: the last one is completed."""


def is_offered(parameter: str) -> bool:
    """Whether some command's option or argument of that name has values to offer."""
    return any(parameter == name for _, name in OFFERS)


def values(context: Any, parameter: Any, typed: str) -> list[str]:
    """What may stand for an option or argument whose value begins with `typed`."""
    group = context.command_path.split()[1:2]
    offer = OFFERS.get((group[0] if group else "", parameter.name)) or OFFERS.get(("", parameter.name))
    if offer is None:
        return []
    before, comma, last = typed.rpartition(",") if parameter.name in LISTS else ("", "", typed)
    taken = before.split(",")
    return [f"{before}{comma}{name}" for name in offer(context) if name.startswith(last) and name not in taken]
