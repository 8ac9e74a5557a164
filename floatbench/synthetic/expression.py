"""What a face can do: the expression coefficients, the six pose numbers and the seven emotions."""

from __future__ import annotations

EXPRESSION: tuple[str, ...] = (
    "jaw",
    "lip_width",
    "lip_round",
    "lip_press",
    "lip_bite",
    "smile",
    "tongue",
    "sneer",
    "brow_raise",
    "brow_inner",
    "brow_knit",
    "lids",
    "gaze_x",
    "gaze_y",
)
"""Names of the expression coefficients. Most run from 0 to 1; `smile` (down to a frown at -1), `lip_width` and the gaze
run from -1 to 1; `lids` is 0 for the resting eye, 1 for a shut one and negative for wide eyes."""

POSE = ("yaw", "pitch", "roll", "x", "y", "z")
"""Head pose: radians (positive yaw turns to the picture's right, pitch up, roll clockwise) and head units (x right,
y up, z towards the camera; the head is about 2.2 units high)."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""In FLOAT's order."""

EMOTION_FACES: dict[str, dict[str, float]] = {
    "angry": {"brow_knit": 0.95, "smile": -0.35, "lids": 0.12, "sneer": 0.3, "lip_press": 0.15},
    "disgust": {"sneer": 0.95, "brow_knit": 0.45, "smile": -0.4, "lids": 0.28},
    "fear": {"brow_raise": 0.55, "brow_inner": 0.75, "lids": -0.45, "lip_width": 0.3, "smile": -0.15},
    "happy": {"smile": 0.85, "lids": 0.14, "brow_raise": 0.18},
    "neutral": {},
    "sad": {"brow_inner": 0.9, "smile": -0.65, "lids": 0.26, "brow_knit": 0.2},
    "surprise": {"brow_raise": 0.95, "lids": -0.55, "jaw": 0.16},
}
"""Resting face of each emotion; speech is laid over it."""
