"""A method of one's own: the picture breathes with the loudness of the sound. A network goes where `breathe` is.

FLOATBENCH_PLUGINS=own_method.py floatbench run --protocol synthetic --methods breathing --limit 2
"""

import numpy as np

import floatbench
from floatbench.methods.method import ClipRequest, Generated
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia


def breathe(picture: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 at 25 frames a second from a (H, W, 3) uint8 picture and (640 T,) int16 sound."""
    loudness = np.abs(sound.reshape(-1, SAMPLES_PER_FRAME).astype(np.float32)).mean(1) / 32768
    gain = 1 - 0.3 * loudness / max(float(loudness.max()), 1e-6)
    return (picture[None] * gain[:, None, None, None]).round().astype(np.uint8)


class Breathing(floatbench.Method):
    """Loaded once in each worker (`load`), then asked for clip after clip with the clip's own seed."""

    name = "breathing"

    def generate(self, request: ClipRequest) -> Generated:
        sound = np.zeros(SAMPLES_PER_FRAME * request.n_frames, np.int16) if request.audio is None else request.audio
        return Generated(media=ClipMedia(breathe(request.source, sound)))


METHODS = {"breathing": Breathing}
