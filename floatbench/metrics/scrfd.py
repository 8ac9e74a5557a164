"""SCRFD face detection (`det_10g`): boxes and five points of every frame, shared by CSIM and E-FID.

Source: Guo et al., "Sample and Computation Redistribution for Efficient Face Detection" (2021); the settings are those
of insightface 0.7 with `det_size=(640, 640)`.
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
from floatbench.metrics.onnx_session import open_session, run_session
from floatbench.types import ClipMedia, Features

WEIGHTS = "scrfd-det-10g"
SIDE = 640
THRESHOLD = 0.5
OVERLAP = 0.4
STRIDES = (8, 16, 32)
ANCHORS = 2
SETTINGS = {"side": SIDE, "threshold": THRESHOLD, "nms": OVERLAP, "face": "largest"}


@dataclass(frozen=True)
class Faces:
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


def preprocess(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """(H, W, 3) uint8 RGB -> ((1, 3, 640, 640) float32, scale).

    The longer side becomes 640 (bilinear), the rest at the right or bottom is black; then (v - 127.5) / 128.
    """
    height, width = frame.shape[:2]
    if height > width:
        new_height, new_width = SIDE, int(SIDE / (height / width))
    else:
        new_width, new_height = SIDE, int(SIDE * (height / width))
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(frame, (new_width, new_height))
    blob = (canvas.astype(np.float32) - 127.5) / 128
    return np.ascontiguousarray(blob.transpose(2, 0, 1)[None]), new_height / height


def decode(outputs: Sequence[np.ndarray], scale: float) -> Faces:
    """Faces from the network's nine outputs of one picture: scores, box and point distances for strides 8, 16, 32."""
    boxes, scores, points = [], [], []
    for level, stride in enumerate(STRIDES):
        score, box, point = (outputs[level + 3 * kind].reshape(-1, (1, 4, 10)[kind]) for kind in range(3))
        keep = np.flatnonzero(score[:, 0] >= THRESHOLD)
        cells = SIDE // stride
        cell = keep // ANCHORS
        centre = np.stack([cell % cells, cell // cells], axis=1).astype(np.float32) * stride
        box, point = box[keep] * stride, point[keep].reshape(-1, 5, 2) * stride
        boxes.append(np.concatenate([centre - box[:, :2], centre + box[:, 2:]], axis=1))
        points.append(centre[:, None] + point)
        scores.append(score[keep, 0])
    joined = np.concatenate(scores)
    order = np.argsort(-joined, kind="stable")
    all_boxes = (np.concatenate(boxes) / scale)[order]
    kept = suppress(all_boxes, OVERLAP)
    return Faces(all_boxes[kept], joined[order][kept], (np.concatenate(points) / scale)[order][kept])


def suppress(boxes: np.ndarray, overlap: float) -> list[int]:
    """Greedy non-maximum suppression of (n, 4) boxes sorted by score; areas count pixels (+ 1), as insightface's."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    areas, kept = sides.prod(axis=1), []
    rest = np.arange(len(boxes))
    while len(rest):
        first, rest = rest[0], rest[1:]
        kept.append(int(first))
        corner = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - np.maximum(boxes[first, :2], boxes[rest, :2]) + 1
        shared = np.maximum(corner, 0).prod(axis=1)
        rest = rest[shared / (areas[first] + areas[rest] - shared) <= overlap]
    return kept


class Detector:
    """The network behind `detect`; one picture a call, because the official graph has no batch axis.

    Args:
        model: the ONNX file; by default the registry's `scrfd-det-10g`.
    """

    def __init__(self, model: Path | None = None, device: str = "cpu") -> None:
        if model is None:
            from floatbench import weights

            model = weights.path(WEIGHTS)
        self._session = open_session(model, device)
        if len(self._session.get_outputs()) != 3 * len(STRIDES):
            raise DataError(f"{model} is no SCRFD with five points", fix=f"floatbench weights fetch {WEIGHTS} --force")
        self._last: tuple[weakref.ref[ClipMedia], Features] | None = None

    def detect(self, frame: np.ndarray) -> Faces:
        """All faces of one (H, W, 3) uint8 RGB frame."""
        blob, scale = preprocess(frame)
        return decode(run_session(self._session, blob), scale)

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


def stack_largest(frames: Sequence[Faces]) -> Features:
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
