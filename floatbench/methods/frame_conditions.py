"""Head pose and face emotion of every frame, for networks that are driven by them too (Table 2, rows B and D).

Synthetic clips know both. Of other clips the pose comes from ReconNet (Deep3DFaceRecon: three angles, three
translations) and the emotion from HSEmotion's EfficientNet-B2. T frames.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from floatbench import weights
from floatbench.errors import DependencyError
from floatbench.model.config import EMOTIONS
from floatbench.types import ClipMedia

HSEMOTION_SIDE = 260
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def head_pose(media: ClipMedia, truth: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """(T, 6) float32, not standardised: the true pose where it is known, else ReconNet's.

    Raises:
        DataError: ReconNet's weights are missing, with the command that fetches them.
    """
    if truth is not None and "pose" in truth:
        return np.asarray(truth["pose"], np.float32)
    from floatbench.metrics.reconnet import ANGLES, TRANSLATION, ReconCoefficients

    found = ReconCoefficients("hold").extract(media)["coefficients"]
    return np.concatenate([found[:, ANGLES], found[:, TRANSLATION]], axis=1).astype(np.float32)


def face_emotions(media: ClipMedia, truth: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """(T, E) float32 probabilities in FLOAT's order: the true emotion where it is known, else HSEmotion's.

    Raises:
        DataError: HSEmotion's weights are missing. DependencyError: onnxruntime is.
    """
    if truth is not None and "emotion" in truth:
        return np.tile(np.eye(len(EMOTIONS), dtype=np.float32)[int(truth["emotion"])], (media.n_frames, 1))
    import cv2

    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("image emotion needs onnxruntime", fix="pip install 'floatbench[metrics]'") from error
    session = onnxruntime.InferenceSession(str(weights.path("hsemotion")), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = []
    for frame in media.frames:
        small = cv2.resize(frame, (HSEMOTION_SIDE, HSEMOTION_SIDE)).astype(np.float32) / 255
        picture = ((small - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)[None]
        logits = np.asarray(session.run(None, {name: picture})[0])[0, : len(EMOTIONS)]
        odds = np.exp(logits - logits.max())
        rows.append(odds / odds.sum())
    return np.stack(rows).astype(np.float32)  # HSEmotion's seven classes stand in FLOAT's order
