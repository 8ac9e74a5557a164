"""What stands between SadTalker's code as published and today's packages, and a face for random networks.

The checkout itself stays as it is: each function replaces one name of a package, and the manifest lists them.
"""

import sys
import types

import numpy as np


def numpy_float():
    """`np.float`: the alias of the built-in type left NumPy in 1.24."""
    if "float" not in vars(np):
        np.float = float


def pillow_antialias():
    """`Image.ANTIALIAS`: Pillow 10 kept the filter under its other name only."""
    from PIL import Image

    if not hasattr(Image, "ANTIALIAS"):
        Image.ANTIALIAS = Image.LANCZOS


def no_gfpgan():
    """`gfpgan`: only the enhancer uses it, and what it needs no longer imports; using it anyway is an error."""

    class GFPGANer:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("the enhancer changes what is scored and is not installed")

    module = types.ModuleType("gfpgan")
    module.GFPGANer = GFPGANer
    sys.modules["gfpgan"] = module


def scalar_position():
    """`POS` of the face alignment: NumPy no longer makes one array of numbers and arrays of one number."""
    from src.face3d.util import preprocess

    official = preprocess.POS

    def position(projected, template):
        shift, scale = official(projected, template)
        return shift.ravel(), scale

    preprocess.POS = position


BY_NAME = {shim.__name__: shim for shim in (numpy_float, pillow_antialias, no_gfpgan, scalar_position)}


def apply(names):
    """Puts the named shims in place, in order; the checkout is on the module path by then."""
    for name in names:
        if name in BY_NAME:
            BY_NAME[name]()


def arc(centre, radii, start, stop, count):
    """`count` points (count, 2) on an ellipse, angles in degrees, 0 to the right and 90 downwards."""
    angles = np.deg2rad(np.linspace(start, stop, count))
    return np.asarray(centre) + np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1)


def line(start, stop, count):
    """`count` points (count, 2) on a straight line."""
    return np.linspace(np.asarray(start), np.asarray(stop), count)


def template_landmarks():
    """A frontal face (98, 2) in the order of the WFLW landmarks, in parts of its box."""
    eyes = [arc((x, 0.40), (0.09, 0.035), 180, 495, 8) for x in (0.31, 0.69)]
    parts = [
        arc((0.5, 0.40), (0.45, 0.58), 180, 0, 33),
        line((0.16, 0.28), (0.42, 0.28), 9),
        line((0.58, 0.28), (0.84, 0.28), 9),
        line((0.5, 0.40), (0.5, 0.60), 4),
        line((0.40, 0.65), (0.60, 0.65), 5),
        eyes[0],
        eyes[1],
        arc((0.5, 0.80), (0.17, 0.07), 180, 510, 12),
        arc((0.5, 0.80), (0.12, 0.03), 180, 495, 8),
        np.array([[0.31, 0.40], [0.69, 0.40]]),
    ]
    return np.concatenate(parts)


def template_face(extractor):
    """Lets a `KeypointExtractor` of random networks see one face in the middle of every picture."""

    def detect(image, *args, **kwargs):
        height, width = np.asarray(image).shape[:2]
        return np.array([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height, 1.0] + [0.0] * 10], np.float32)

    def landmarks(image):
        height, width = image.shape[:2]
        return template_landmarks() * [width, height]

    extractor.det_net.detect_faces = detect
    extractor.detector.get_landmarks = landmarks
