"""SCRFD face detection (`det_10g`): boxes and five points of every frame, shared by CSIM and E-FID.

Source: Guo et al., "Sample and Computation Redistribution for Efficient Face Detection" (2021). The network's walk is
insightface's class on a verified file; the settings are those of insightface 0.7 with `det_size=(640, 640)`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from floatbench.errors import DataError
from floatbench.metrics.onnx_session import insightface_zoo, memory_errors, open_session
from floatbench.types import ClipMedia, Features

WEIGHTS = "scrfd-det-10g"
SIDE = 640
THRESHOLD = 0.5
OVERLAP = 0.4
STRIDES = (8, 16, 32)
ANCHORS = 2
SETTINGS = {"side": SIDE, "threshold": THRESHOLD, "nms": OVERLAP, "face": "largest"}


@dataclass(frozen=True)
class DetectedFaces:
    """The faces of one picture in pixels, best score first: boxes (n, 4) x1 y1 x2 y2, scores (n,), points (n, 5, 2).

    The points are the eye on the picture's left, the other eye, the nose tip and the corners of the mouth.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray

    def largest(self) -> int:
        """Index of the face with the largest box."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        return int(np.argmax(sides.prod(axis=1)))


class Detector:
    """The network behind `detect`; one picture a call, because the official graph has no batch axis.

    Args:
        model: the ONNX file; by default the registry's `scrfd-det-10g`.
    """

    def __init__(self, model: Path | None = None, device: str = "cpu") -> None:
        if model is None:
            from floatbench import weights

            model = weights.path(WEIGHTS)
        session = open_session(model, device)
        if len(session.get_outputs()) != 3 * len(STRIDES):
            raise DataError(f"{model} is no SCRFD with five points", fix=f"floatbench weights fetch {WEIGHTS} --force")
        # one session for every picture size: its own choice would open the file again for each
        self._network = insightface_zoo().SCRFD(str(model), session, static_shape_sessions=False)
        self._network.prepare(0, nms_thresh=OVERLAP, det_thresh=THRESHOLD, input_size=(SIDE, SIDE))
        self._last: tuple[weakref.ref[ClipMedia], Features] | None = None

    def detect(self, frame: np.ndarray) -> DetectedFaces:
        """All faces of one (H, W, 3) uint8 RGB frame."""
        with memory_errors():
            found, points = self._network.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return DetectedFaces(found[:, :4], found[:, 4], points)

    def largest_faces(self, clip: ClipMedia) -> Features:
        """The largest face of every frame, remembered for the last clip, so that two backbones detect once.

        Returns `found` (T,) bool, `faces` (T,) int32 faces in the frame, `boxes` (T, 4), `points` (T, 5, 2), both
        float32 pixels and 0 without a face.
        """
        if self._last is not None and self._last[0]() is clip:
            return self._last[1]
        result = stack_largest([self.detect(frame) for frame in clip.frames])
        self._last = (weakref.ref(clip), result)
        return result


def stack_largest(frames: Sequence[DetectedFaces]) -> Features:
    """The arrays of `Detector.largest_faces` from the faces of every frame."""
    boxes = np.zeros((len(frames), 4), np.float32)
    points = np.zeros((len(frames), 5, 2), np.float32)
    counts = np.array([len(faces.scores) for faces in frames], np.int32)
    for row in np.flatnonzero(counts).tolist():
        best = frames[row].largest()
        boxes[row], points[row] = frames[row].boxes[best], frames[row].points[best]
    return {"found": counts > 0, "faces": counts, "boxes": boxes, "points": points}


_DETECTORS: dict[tuple[str, str], Detector] = {}
_LOCK = threading.Lock()


def shared_detector(device: str) -> Detector:
    """One detector per weight file and device of this process."""
    from floatbench import weights

    model = weights.path(WEIGHTS)
    with _LOCK:
        key = (str(model), device)
        if key not in _DETECTORS:
            _DETECTORS[key] = Detector(model, device)
        return _DETECTORS[key]


def fabricate(path: Path, seed: int) -> None:
    """A stand-in with SCRFD's outputs: one face near the middle of every picture that is not of one colour.

    The true network cannot be made of random weights: its random boxes would be no faces to measure.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(seed)
    cells = [(SIDE // stride) ** 2 * ANCHORS for stride in STRIDES]
    columns, row = SIDE // STRIDES[-1], SIDE // STRIDES[-1] // 2
    anchor = (row * columns + row) * ANCHORS  # the centre of the picture at stride 32
    face = 4 + rng.random(4, np.float32)  # a box of about 280 pixels, in strides
    eye, mouth = 1.8 + 0.2 * rng.random(), 2.0 + 0.2 * rng.random()
    points = np.array([-eye, -1.5, eye, -1.5, 0, 0.3, -eye * 0.8, mouth, eye * 0.8, mouth], np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["high"], keepdims=0),
        helper.make_node("ReduceMin", ["image"], ["low"], keepdims=0),
        helper.make_node("Sub", ["high", "low"], ["contrast"]),
        helper.make_node("Mul", ["contrast", "gain"], ["raised"]),
        helper.make_node("Min", ["raised", "most"], ["score"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(20, np.float32), "gain"),
        numpy_helper.from_array(np.array(0.9, np.float32), "most"),
    ]
    outputs = []
    for kind, values in enumerate((np.ones(1, np.float32), face, points)):
        for level, count in enumerate(cells):
            table = np.zeros((count, len(values)), np.float32)
            if level == len(cells) - 1:
                table[anchor] = values
            name = f"{('score', 'box', 'points')[kind]}_{STRIDES[level]}"
            constants.append(numpy_helper.from_array(table, f"{name}_table"))
            if kind == 0:
                nodes.append(helper.make_node("Mul", [f"{name}_table", "score"], [name]))
            else:
                nodes.append(helper.make_node("Identity", [f"{name}_table"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, len(values)]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
    graph = helper.make_graph(nodes, "scrfd", [image], outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def settings() -> dict[str, Any]:
    """What of the detection changes a backbone's result."""
    return {"detector": WEIGHTS, **SETTINGS}
