"""Face boxes from S3FD as the face-alignment package runs it, the way FLOAT's inference script calls it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from floatbench.errors import DependencyError
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection

WEIGHT = "s3fd-face-alignment"
DETECTOR_HEIGHT = 360


class S3fdBoxes(BoxBackend):
    """S3FD on the picture scaled to height 360 (area filter when shrinking, cubic when enlarging), R-G-B order.

    Only the detector of face-alignment is built, from a verified file: its own download never runs, and no function is
    compiled.

    Args:
        device: torch device.
        weights_file: another weight file than the registry's, for tests.
    """

    name = "s3fd"
    start_score = 0.95
    follow_score = 0.5

    def __init__(self, device: str = "cpu", weights_file: Path | None = None) -> None:
        from floatbench import weights
        from floatbench.files import file_sha256

        self._file = Path(weights_file) if weights_file else weights.path(WEIGHT)
        self._sha256 = file_sha256(self._file) if weights_file else weights.sha256(WEIGHT)
        self._fabricated = weights_file is None and weights.is_fabricated(WEIGHT)
        self._detector = _build(self._file, device)

    def info(self) -> BackendInfo:
        version = f"face-alignment {importlib.metadata.version('face-alignment')}"
        return BackendInfo(self.name, version, {WEIGHT: self._sha256}, self._fabricated)

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        """Faces with a score above 0.5, best first; boxes are divided by the scale and truncated."""
        import torch

        scale = DETECTOR_HEIGHT / rgb.shape[0]
        width = max(1, int(rgb.shape[1] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = cv2.resize(rgb, (width, DETECTOR_HEIGHT), interpolation=method)
        benchmark = torch.backends.cudnn.benchmark  # the package switches it on for the whole process
        try:
            found = self._detector.detect_from_image(small)
        finally:
            torch.backends.cudnn.benchmark = benchmark
        boxes = [Detection(_truncated(row[:4] / scale), float(row[4])) for row in found]
        return sorted(boxes, key=lambda detection: -detection.score)

    def close(self) -> None:
        del self._detector


def _truncated(corners: np.ndarray) -> Box:
    limited = np.clip(np.nan_to_num(corners), -(2**20), 2**20)
    return Box(*(int(value) for value in limited))


def _build(file: Path, device: str) -> Any:
    try:
        from face_alignment.detection.sfd import FaceDetector
    except ImportError as error:
        raise DependencyError(
            "face boxes with s3fd need the package face-alignment", fix="uv pip install -e '.[metrics]'"
        ) from error
    return FaceDetector(device=device, path_to_detector=str(file), filter_threshold=S3fdBoxes.follow_score)


def fabricate_s3fd(path: Path, seed: int) -> None:
    """Writes seeded random weights of face-alignment's S3FD network, so that everything runs without the real file.

    The biases of the confidence heads are set: one scale sees a "face" everywhere, the others nowhere.
    """
    import torch
    from face_alignment.detection.sfd.net_s3fd import s3fd

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = s3fd()
    for name, head in network.named_children():
        if isinstance(head, torch.nn.Conv2d) and head.bias is not None and name.endswith("_conf"):
            face = 2.0 if name == "fc7_mbox_conf" else -4.0  # boxes of about a third of the picture's height
            with torch.no_grad():
                torch.nn.init.constant_(head.bias, -face)
                head.bias[-1] = face  # the face score comes last
    torch.save(network.state_dict(), path)
