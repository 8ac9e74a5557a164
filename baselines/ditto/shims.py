"""What stands between Ditto's code as published and today's machines; the checkout itself stays as it is."""

import sys
import types


def blend_in_numpy(device):
    """The blending of `core.utils.blend`, which the code compiles with Cython at every start, for its processor."""
    import numpy

    def blend_images_cy(mask, warped, picture, result):
        mask = mask[..., None]
        blended = mask * warped + (numpy.float32(1) - mask) * picture
        result[...] = numpy.clip(blended, 0, 255).astype(numpy.uint8)

    module = types.ModuleType("core.utils.blend")
    module.blend_images_cy = blend_images_cy
    sys.modules["core.utils.blend"] = module


def float32_without_a_card(device):
    """The networks' 16-bit arithmetic serves cards; without one they compute in 32 bits."""
    import torch

    if device == "cpu":
        official = torch.autocast
        torch.autocast = lambda *args, **settings: official(*args, **dict(settings, enabled=False))


def template(left, right, lips, count):
    """`count` points (x, y) of a face in the unit square, with those by which the code turns and centres it."""
    import numpy

    turn = numpy.linspace(0, 2 * numpy.pi, count, dtype="float32")
    points = 0.5 + 0.3 * numpy.stack([numpy.cos(turn), numpy.sin(turn)], axis=1)
    points[list(left)], points[list(right)], points[list(lips)] = (0.38, 0.42), (0.62, 0.42), (0.5, 0.68)
    return points


class OneFace:
    """Stands where insightface's detector would be when there is none: one face in the middle of the picture."""

    def __init__(self, **settings):
        pass

    def __call__(self, picture):
        import numpy

        height, width = picture.shape[:2]
        return numpy.array([[width / 4, height / 4, width * 3 / 4, height * 7 / 8, 1]], "float32"), None


class Points106(OneFace):
    """Stands where insightface's landmarks would be: the template in the box."""

    def __call__(self, picture, box):
        points = template((33, 35, 40, 39), (87, 89, 94, 93), (52, 61), 106)
        return points * (box[2:4] - box[:2]) + box[:2]


class Points203(OneFace):
    """Stands where LivePortrait's landmarks would be: the template in the crop."""

    dsize = 224

    def __call__(self, crop, back):
        points = template((0, 6, 12, 18), (24, 30, 36, 42), (48, 66), 203) * self.dsize
        return points @ back[:2, :2].T + back[:2, 2]


def fabricated_detectors():
    """With fabricated weights only: these networks come as finished ONNX files; MediaPipe's landmarks are real."""
    from core.atomic_components import source2info

    source2info.InsightFaceDet, source2info.Landmark106, source2info.Landmark203 = OneFace, Points106, Points203


BY_NAME = {shim.__name__: shim for shim in (blend_in_numpy, float32_without_a_card)}


def apply(names, device):
    """Puts the named shims in place; the checkout is on the module path by then."""
    for name in names:
        BY_NAME[name](device)
