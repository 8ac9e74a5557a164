"""Face tracks and mouth-centred crops, as the SyncNet pipeline makes them, on a clip without cuts.

The pipeline's scene detection is left out: portrait clips are single shots, and its result depends on the version of
the tool. Source: `run_pipeline.py` of syncnet_python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from floatbench.errors import ClipError

MIN_OVERLAP = 0.5
MAX_GAP = 25
CROP_SCALE = 0.4
MEDIAN = 13
PADDING = 110
SIDE = 224


@dataclass(frozen=True)
class FaceTrack:
    """One face over time.

    Attributes:
        frames: (n,) frame numbers with a detection; boxes: (n, 4) x1 y1 x2 y2 in pixels.
    """

    frames: np.ndarray
    boxes: np.ndarray

    @property
    def start(self) -> int:
        return int(self.frames[0])

    @property
    def length(self) -> int:
        """Frames from the first to the last detection."""
        return int(self.frames[-1] - self.frames[0]) + 1

    def filled(self) -> np.ndarray:
        """(length, 4) boxes of every frame, linear between detections."""
        every = np.arange(self.start, self.start + self.length)
        return np.stack([np.interp(every, self.frames, column) for column in self.boxes.T], axis=1)

    def size(self) -> float:
        """The larger of mean width and mean height, in pixels."""
        boxes = self.filled()
        return float((boxes[:, 2:] - boxes[:, :2]).mean(axis=0).max())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides[0] * sides[1])
    return shared / (float(np.prod(a[2:] - a[:2])) + float(np.prod(b[2:] - b[:2])) - shared)


def find_tracks(faces: Sequence[np.ndarray]) -> list[FaceTrack]:
    """Tracks in the order the pipeline finds them.

    A detection joins when it overlaps the track's last box by more than 0.5 and at most 25 frames lie between; the
    first such detection of a frame counts, and one detection belongs to one track.

    Args:
        faces: per frame (n, >= 4) boxes, best score first.
    """
    left = [[np.asarray(face[:4], np.float64) for face in frame] for frame in faces]
    tracks: list[FaceTrack] = []
    while any(left):
        track = _grow(left)
        tracks.append(FaceTrack(np.array([frame for frame, _ in track]), np.array([box for _, box in track])))
    return tracks


def _grow(left: list[list[np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    track: list[tuple[int, np.ndarray]] = []
    for number, boxes in enumerate(left):
        if track and number - track[-1][0] > MAX_GAP:
            break
        match = (i for i, box in enumerate(boxes) if not track or overlap(box, track[-1][1]) > MIN_OVERLAP)
        found = next(match, None)
        if found is not None:
            track.append((number, boxes.pop(found)))
    return track


def longest(tracks: Sequence[FaceTrack], min_size: float) -> FaceTrack | None:
    """The track with most detections among those larger than `min_size` pixels; of equals the larger face."""
    large = [track for track in tracks if track.size() > min_size]
    return max(large, key=lambda track: (len(track.frames), track.size()), default=None)


def crop_boxes(track: FaceTrack) -> np.ndarray:
    """(length, 3) half side, centre x and centre y of every frame, each median-filtered over 13 frames.

    The filter sees zeros beyond both ends, as the pipeline's does.
    """
    boxes = track.filled()
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    values = np.pad(np.column_stack([half, centre]), ((MEDIAN // 2, MEDIAN // 2), (0, 0)))
    return np.median(np.lib.stride_tricks.sliding_window_view(values, MEDIAN, axis=0), axis=-1)


def crop(frame: np.ndarray, half: float, x: float, y: float) -> np.ndarray:
    """The (224, 224, 3) cut of one frame: 1.4 halves left and right, 1 above and 1.8 below, grey 110 outside."""
    border = int(half * (1 + 2 * CROP_SCALE))
    padded = cv2.copyMakeBorder(frame, border, border, border, border, cv2.BORDER_CONSTANT, value=(PADDING,) * 3)
    x, y = x + border, y + border
    rows = slice(int(y - half), int(y + half * (1 + 2 * CROP_SCALE)))
    columns = slice(int(x - half * (1 + CROP_SCALE)), int(x + half * (1 + CROP_SCALE)))
    cut = padded[rows, columns]
    if cut.size == 0:
        raise ClipError("no_track", "a tracked face lies outside the picture")
    return cv2.resize(cut, (SIDE, SIDE))


def crop_track(frames: np.ndarray, track: FaceTrack) -> np.ndarray:
    """(length, 224, 224, 3) uint8 crops of a track out of (T, H, W, 3) frames."""
    return np.stack([crop(frames[track.start + i], *box) for i, box in enumerate(crop_boxes(track).tolist())])
