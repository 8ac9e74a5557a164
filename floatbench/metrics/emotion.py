"""Does the face show the emotion that it should: that of the clip's label, or the one that the method was told?

A method is told by its name (`float?emotion=happy`); otherwise the label of the protocol's clip counts. HSEmotion's
EfficientNet-B2 looks at every fifth frame: expressions last longer than 0.2 s, and the network is the slowest part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.efid import FaceFrechet
from floatbench.metrics.face_points import FACE, seen
from floatbench.metrics.landmarker import FaceLandmarker, face_mesh, open_landmarker
from floatbench.metrics.onnx_session import open_session
from floatbench.model.config import EMOTIONS
from floatbench.processes import silenced_stderr
from floatbench.types import ClipMedia, Features

EVERY = 5
SIDE = 260
"""Pixels of the network's input."""
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


class FaceEmotion(Backbone):
    """Features of every fifth frame: `found` (n,) bool; `logits` (n, 7) float32 in the order of `EMOTIONS`.

    The picture is the box of the face's mesh, squashed to 260 x 260 and normalised with ImageNet's statistics; 0 in the
    rows without a face.
    """

    id = "hsemotion-b2"
    weights = ("hsemotion", *FaceLandmarker.weights)
    licence = "Apache-2.0; trained on AffectNet (non-commercial research data)"
    on_device = False

    def __init__(self, model: Path | None = None, landmarker: Path | None = None) -> None:
        self._files = (model, landmarker)
        self._session: Any = None
        self._landmarker: Any = None

    def settings(self) -> dict[str, Any]:
        return {"every": EVERY, "side": SIDE, "version": 1}

    def load(self, device: str = "cpu") -> None:
        """Opens both networks, which run on the CPU whatever the device."""
        if self._session is not None:
            return
        from floatbench import weights

        model, landmarker = (given or weights.path(name) for given, name in zip(self._files, self.weights, strict=True))
        self._session, self._landmarker = open_session(model, threads=1), open_landmarker(landmarker)

    def extract(self, clip: ClipMedia) -> Features:
        self.load()
        rows = [self._logits(frame) for frame in clip.frames[::EVERY]]
        empty = np.zeros(len(EMOTIONS), np.float32)
        return {
            "found": np.array([row is not None for row in rows]),
            "logits": np.stack([empty if row is None else row for row in rows]),
        }

    def _logits(self, frame: np.ndarray) -> np.ndarray | None:
        with silenced_stderr():
            mesh = face_mesh(self._landmarker, frame)
        face = None if mesh is None else cut_face(frame, mesh)
        if face is None:
            return None
        small = cv2.resize(face, (SIDE, SIDE)).astype(np.float32) / 255
        picture = ((small - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
        name = self._session.get_inputs()[0].name
        return np.asarray(self._session.run(None, {name: picture})[0], np.float32)[0, : len(EMOTIONS)]


def cut_face(frame: np.ndarray, mesh: np.ndarray) -> np.ndarray | None:
    """The box of a (478, 2) mesh in fractions out of an (H, W, 3) frame; None where it lies outside."""
    points = mesh[FACE] * (frame.shape[1], frame.shape[0])
    left, top = np.floor(points.min(axis=0)).clip(0).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    face = frame[top:bottom, left:right]
    return np.ascontiguousarray(face) if face.size else None


def probabilities(features: Features) -> np.ndarray:
    """(7,) mean over the frames with a face of the softmax of the logits; raises ClipError without enough faces."""
    logits = features["logits"][seen(features, 1)].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)


class EmotionShown(ClipMetric):
    """Whether the most probable emotion is the wanted one (1 or 0), or how probable the wanted one is.

    Args:
        info: the variant. probable: the probability instead of yes or no.

    Extras of a clip: the mean probability of each of the seven emotions, `reference` (the reference's own value).
    """

    def __init__(self, info: MetricInfo, probable: bool = False) -> None:
        self.info = info
        self._probable = probable

    def clip_value(self, pair: Pair) -> ClipValue:
        if pair.emotion not in EMOTIONS:
            raise ClipError("no_label", f"emotion {pair.emotion!r} is none of {', '.join(EMOTIONS)}")
        wanted = EMOTIONS.index(pair.emotion)
        features = pair.generated(FaceEmotion.id)
        shown = probabilities(features)
        extra = {name: float(value) for name, value in zip(EMOTIONS, shown, strict=True)}
        try:
            extra["reference"] = self._value(probabilities(pair.reference(FaceEmotion.id)), wanted)
        except ClipError as error:
            if error.reason not in ("no_face", "few_pictures"):
                raise
        found = features["found"]
        return ClipValue(self._value(shown, wanted), extra, {}, int(found.sum()), len(found))

    def _value(self, shown: np.ndarray, wanted: int) -> float:
        return float(shown[wanted]) if self._probable else float(shown.argmax() == wanted)


def logits(features: Features) -> np.ndarray:
    """(n, 7) HSEmotion's logits."""
    return features["logits"]


def _info(variant: str, column: str, title: str, formula: str, corpus: bool = False) -> MetricInfo:
    return MetricInfo(
        id=variant,
        column=column,
        title=title,
        higher_is_better=not corpus,
        level="corpus" if corpus else "clip",
        backbones=(FaceEmotion.id,),
        sides=("generated", "reference"),
        formula=formula,
        source="floatbench; HSEmotion (EfficientNet-B2, AffectNet, seven classes) on every fifth frame",
        parity="closed forms on made-up features",
        needs_label=not corpus,
    )


_ACC = _info("emo-acc", "EMO-ACC", "Share of clips that show the wanted emotion", "argmax of the mean probability")
_PROB = _info("emo-prob", "EMO-PROB", "Probability of the wanted emotion", "softmax of the logits, mean over frames")
_FID = _info("emo-fid", "EMO-FID", "Frechet distance of HSEmotion's seven logits",
             "|mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of 7 logits, all clips pooled", corpus=True)  # fmt: skip
METRICS: dict[str, Callable[..., Metric]] = {
    _ACC.id: partial(EmotionShown, _ACC),
    _PROB.id: partial(EmotionShown, _PROB, probable=True),
    _FID.id: partial(FaceFrechet, _FID, logits),
}
BACKBONES: dict[str, Callable[[], Backbone]] = {FaceEmotion.id: FaceEmotion}
