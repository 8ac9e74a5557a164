"""LSE-D and LSE-C: distance and confidence of lips and sound under SyncNet, and the offset between them.

`lse-direct` follows the pipeline for real videos (face detection, tracking, crops) without its four lossy encodings,
`lse-ffmpeg` repeats these encodings in memory, `lse-wholeframe` squashes the whole frame, as the LRS script does. Lips
and sound are two backbones, so that a clip with another sound keeps its picture features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import nn

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import codecs, facetrack, s3fd, syncnet
from floatbench.metrics.avcorr import require_sound
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.network import NetworkBackbone
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features

MIN_FACE = 100.0
"""Tracks whose mean box side is not above this many pixels do not count."""
LICENCE = "code MIT; weights without a stated licence (BBC material): research only"
Mode = Literal["direct", "ffmpeg", "wholeframe"]


class FaceDetector(NetworkBackbone):
    """S3FD over the frames of a clip; not a backbone of its own, but the first stage of `LipEmbeddings`."""

    id = "s3fd"
    weights = ("s3fd-sfd-face",)
    licence = LICENCE
    default_batch = 16
    activations_follow = channels_last = True

    def build(self) -> nn.Module:
        return s3fd.S3FDNet()

    def settings(self) -> dict[str, Any]:
        return dict(s3fd.SETTINGS)

    def detect(self, frames: np.ndarray) -> list[np.ndarray]:
        """Per frame (n, 5) faces x1 y1 x2 y2 score in pixels, best first, of (T, H, W, 3) uint8 RGB frames."""
        height, width = frames.shape[1:3]
        sizes: list[tuple[int, int]] = []

        def run(network: nn.Module, numbers: torch.Tensor) -> torch.Tensor:
            batch = np.stack([s3fd.prepare(frames[int(n)]) for n in numbers])
            scores, offsets, found = network(torch.from_numpy(batch).to(self.device))
            sizes[:] = found
            return torch.cat([scores[..., None], offsets], -1)

        out = self.forward(run, np.arange(len(frames)))
        small = s3fd.prepare(frames[0]).shape[1:]
        prior = s3fd.priors(small[0], small[1], tuple(sizes))
        return [s3fd.decode(row[:, 0], row[:, 1:], prior, height, width) for row in out]

    def extract(self, clip: ClipMedia) -> Features:
        """The best face of every frame: `found` (T,), `faces` (T,) and `boxes` (T, 4)."""
        faces = self.detect(clip.frames)
        boxes = np.stack([f[0, :4] if len(f) else np.zeros(4) for f in faces]).astype(np.float32)
        counts = np.array([len(f) for f in faces], np.int32)
        return {"found": counts > 0, "faces": counts, "boxes": boxes}


class LipEmbeddings(NetworkBackbone):
    """Lip embeddings of the longest face track.

    Features: `lips` (length - 4, 1024) float32; `track` (4,) float32: first frame, length in frames, detections, mean
    side of the box in pixels; `tracks` (K, 2) float32: detections and side of every track above 100 pixels; `frames`
    (1,) of the clip. Raises ClipError `no_face`, `no_track` (all faces too small) or `too_short` (under 6 frames).

    Args:
        mode: `direct`, `ffmpeg` or `wholeframe`, see the module.
        batch: windows per forward pass; changes nothing but rounding.
    """

    licence = LICENCE
    default_batch = 32
    norms_follow = activations_follow = channels_last = True

    def __init__(self, mode: Mode = "direct", batch: int | None = None) -> None:
        super().__init__(batch)
        self.mode: Mode = mode
        self.id = "syncnet-lip" if mode == "direct" else f"syncnet-lip-{mode}"
        self.weights = ("syncnet-v2",) if mode == "wholeframe" else ("syncnet-v2", "s3fd-sfd-face")
        self.detector = FaceDetector()

    def settings(self) -> dict[str, Any]:
        record: dict[str, Any] = {"mode": self.mode, "side": syncnet.SIDE, "version": 1}
        if self.mode != "wholeframe":
            record |= {**s3fd.SETTINGS, "min_face": MIN_FACE, "track": "longest", "scenes": "none"}
        if self.mode == "ffmpeg":
            record["codecs"] = codecs.GENERATIONS
        return record

    def build(self) -> nn.Module:
        return syncnet.SyncNet()

    def load(self, device: str = "cpu") -> None:
        super().load(device)
        if self.mode != "wholeframe":
            self.detector.load(device)

    def embed(self, crops: np.ndarray) -> np.ndarray:
        """(T, 224, 224, 3) uint8 RGB mouth crops -> (T - 4, 1024) float32."""

        def run(network: nn.Module, starts: torch.Tensor) -> torch.Tensor:
            first, last = int(starts[0]), int(starts[-1]) + syncnet.FRAMES
            block = np.ascontiguousarray(crops[first:last, :, :, ::-1])
            x = torch.from_numpy(block).to(self.device).permute(3, 0, 1, 2).float()
            assert isinstance(network, syncnet.SyncNet)
            return network.lips(x)

        return self.forward(run, np.arange(len(crops) - syncnet.FRAMES + 1))

    def extract(self, clip: ClipMedia) -> Features:
        if self.network is None:
            self.load()
        if clip.n_frames <= syncnet.FRAMES:
            raise ClipError("too_short", f"SyncNet needs 6 frames, got {clip.n_frames}")
        if self.mode == "wholeframe":
            crops = np.stack([cv2.resize(frame, (syncnet.SIDE, syncnet.SIDE)) for frame in clip.frames])
            record = np.array([0, len(crops), len(crops), max(clip.frames.shape[1:3])], np.float32)
            tracks = record[None, 2:]
        else:
            crops, record, tracks = self._tracked(clip.frames)
        count = np.array([clip.n_frames], np.int32)
        return {"lips": self.embed(crops), "track": record, "tracks": tracks, "frames": count}

    def _tracked(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lossy = self.mode == "ffmpeg"
        if lossy:
            frames = codecs.dump_frames(frames)
        found = facetrack.find_tracks(self.detector.detect(frames))
        if not found:
            raise ClipError("no_face", f"no face in any of {len(frames)} frames")
        chosen = facetrack.longest(found, MIN_FACE)
        if chosen is None:
            side = max(track.size() for track in found)
            raise ClipError("no_track", f"the largest face is {side:.0f} px, more than {MIN_FACE:.0f} are needed")
        if chosen.length <= syncnet.FRAMES:
            raise ClipError("no_track", f"the longest face track has {chosen.length} frames, SyncNet needs 6")
        crops = facetrack.crop_track(frames, chosen)
        if lossy:
            crops = codecs.dump_crops(crops)
        record = np.array([chosen.start, chosen.length, len(chosen.frames), chosen.size()], np.float32)
        large = [(len(t.frames), t.size()) for t in found if t.size() > MIN_FACE]
        return crops, record, np.array(large, np.float32)


class SoundEmbeddings(NetworkBackbone):
    """Sound embeddings of the window that starts at each frame.

    Features: `sound` (W, 1024) float32; `sound_cut` (W, 1024): the same windows as the first of a sound that is cut
    there, which differ by the pre-emphasis of one sample; `frames` (1,) whole frames of sound; W = frames - 5.
    Raises ClipError `no_audio`, `silent` or `too_short`.
    """

    id = "syncnet-sound"
    uses = frozenset({"audio"})
    weights = ("syncnet-v2",)
    licence = LICENCE
    default_batch = 128
    norms_follow = activations_follow = True

    def settings(self) -> dict[str, Any]:
        return {"mfcc": "python_speech_features defaults", "version": 1}

    def build(self) -> nn.Module:
        return syncnet.SyncNet()

    def embed(self, windows: np.ndarray) -> np.ndarray:
        """(W, 13, 20) MFCC windows -> (W, 1024) float32."""

        def run(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
            assert isinstance(network, syncnet.SyncNet)
            return network.sound(x[:, None])

        return self.forward(run, windows)

    def extract(self, clip: ClipMedia) -> Features:
        if self.network is None:
            self.load()
        audio = require_sound(clip)
        frames = len(audio) // SAMPLES_PER_FRAME
        if frames <= syncnet.LOST:
            raise ClipError("too_short", f"SyncNet needs the sound of 6 frames, got {frames}")
        whole, cut = syncnet.sound_windows(audio)
        count = np.array([frames], np.int32)
        return {"sound": self.embed(whole), "sound_cut": self.embed(cut), "frames": count}


def aligned(lips: Features, sound: Features) -> tuple[np.ndarray, np.ndarray, int]:
    """The lip and sound windows of the track, and their first frame, as if the sound had been cut to the track."""
    start, length = int(lips["track"][0]), int(lips["track"][1])
    count = min(length, int(sound["frames"][0]) - start) - syncnet.LOST
    if count < 1:
        raise ClipError("too_short", f"the face track and the sound share {max(count + syncnet.LOST, 0)} frames")
    return lips["lips"][:count], _cut(sound, start, count), start


def _cut(sound: Features, start: int, count: int) -> np.ndarray:
    part = sound["sound"][start : start + count].copy()
    if start > 0:
        part[0] = sound["sound_cut"][start]
    return part


def block_judgements(lips: Features, sound: Features, block: int) -> list[syncnet.Sync]:
    """One judgement per stretch of `block` frames of the track, each a clip of its own; the remainder is left out."""
    windows, _, start = aligned(lips, sound)
    frames = len(windows) + syncnet.LOST
    if frames < block:
        raise ClipError("too_short", f"{frames} frames are fewer than the {block} of one stretch")
    found = []
    for first in range(0, frames - block + 1, block):
        own = windows[first : first + block - syncnet.LOST]
        found.append(syncnet.judge(syncnet.distances(own, _cut(sound, start + first, len(own)))))
    return found


class LSE(ClipMetric):
    """LSE-D or LSE-C of the longest face track of each clip, then the mean over clips.

    Args:
        variant: id, e.g. `lse-direct-d`.
        min_track: a track needs more detections than this, as in the pipeline (HDTF 100, RAVDESS 50).
        block: 0 judges the whole track; else the mean over stretches of this many frames. LSE-C grows with the length
            of what is judged, so clips of unequal length compare only at equal stretches.

    Extras of a clip: `offset` in frames (sound late by 3 gives -3), `distance`, `confidence`, `windows`,
    `track_start`, `track_frames`, `coverage` (track over clip), `tracks` that were long enough, `frames_trimmed`
    (picture and sound of unequal length). Track `distance`: of every window at the best offset.
    """

    def __init__(self, variant: str, min_track: int = 100, block: int = 0) -> None:
        if min_track < 0 or (block and block <= syncnet.LOST):
            raise UsageError(f"{variant}: min_track must be 0 or more, block 0 or at least 6; got {min_track}, {block}")
        self.info = _info(variant)
        self.min_track = int(min_track)
        self.block = int(block)

    def clip_value(self, pair: Pair) -> ClipValue:
        lips, sound = (pair.generated(name) for name in self.info.backbones)
        detections, side = int(lips["track"][2]), float(lips["track"][3])
        if detections <= self.min_track and "wholeframe" not in self.info.id:
            what = f"the longest face track has {detections} detections, more than {self.min_track} are needed"
            raise ClipError("no_track", what)
        windows, other, start = aligned(lips, sound)
        table = syncnet.distances(windows, other)
        whole = syncnet.judge(table)
        extra = self._extra(lips, sound, whole, len(windows)) | {"track_start": float(start), "face_px": side}
        value = whole
        if self.block:
            parts = block_judgements(lips, sound, self.block)
            value = syncnet.Sync(
                float(np.mean([p.distance for p in parts])), float(np.mean([p.confidence for p in parts])), whole.offset
            )
            extra["blocks"] = float(len(parts))
        best = table[:, syncnet.SHIFT - whole.offset]
        number = value.distance if self.info.column == "LSE-D" else value.confidence
        pictures = int(lips["track"][1])
        return ClipValue(number, extra, {"distance": best}, pictures, int(lips["frames"][0]))

    def _extra(self, lips: Features, sound: Features, found: syncnet.Sync, windows: int) -> dict[str, float]:
        clip, heard = int(lips["frames"][0]), int(sound["frames"][0])
        return {
            "offset": float(found.offset),
            "distance": found.distance,
            "confidence": found.confidence,
            "windows": float(windows),
            "track_frames": float(lips["track"][1]),
            "coverage": float(lips["track"][1]) / clip,
            "tracks": float((lips["tracks"][:, 0] > self.min_track).sum()),
            "frames_trimmed": float(abs(clip - heard)),
        }


_MODES: Mapping[str, tuple[str, str, str]] = {
    "direct": (
        "longest face track, lossless in memory",
        "syncnet_python at 6efbb1c3 (run_pipeline.py, run_syncnet.py) without its four lossy encodings",
        "syncnet_python with equal weights: MFCC exactly, tracks and crops exactly, distances within 1e-4",
    ),
    "ffmpeg": (
        f"longest face track, lossy steps in memory ({codecs.GENERATIONS})",
        "syncnet_python at 6efbb1c3, run_pipeline.py and run_syncnet.py",
        "syncnet_python and FFmpeg's program, end to end: pictures bit for bit; D, C, offset within 1e-4 on its sound",
    ),
    "wholeframe": (
        "whole frame squashed to 224, no detection",
        "Wav2Lip evaluation, calculate_scores_LRS.py, without its JPEG dump",
        "as lse-direct",
    ),
}


_RESULT = {"d": "min m", "c": "median m - min m"}


def _info(variant: str) -> MetricInfo:
    mode, kind = variant.split("-")[1:3]
    how, source, parity = _MODES[mode]
    distance = kind == "d"
    return MetricInfo(
        id=variant,
        column="LSE-D" if distance else "LSE-C",
        title=f"SyncNet {'distance' if distance else 'confidence'}, {how}",
        higher_is_better=not distance,
        level="clip",
        backbones=("syncnet-lip" if mode == "direct" else f"syncnet-lip-{mode}", "syncnet-sound"),
        sides=("generated",),
        formula=f"m[k] = mean over windows of |lip_i - sound_(i+k-15) + 1e-6|; {_RESULT[kind]}",
        source=source,
        parity=parity,
        needs_audio=True,
    )


METRICS: dict[str, Callable[..., Metric]] = {
    **{f"lse-{mode}-{kind}": partial(LSE, f"lse-{mode}-{kind}") for mode in _MODES for kind in "dc"},
    **{f"lse-{mode}-c-75": partial(LSE, f"lse-{mode}-c-75", block=75) for mode in _MODES},
}
BACKBONES: dict[str, Callable[[], Backbone]] = {
    "syncnet-lip": LipEmbeddings,
    "syncnet-lip-ffmpeg": partial(LipEmbeddings, "ffmpeg"),
    "syncnet-lip-wholeframe": partial(LipEmbeddings, "wholeframe"),
    "syncnet-sound": SoundEmbeddings,
}
