"""What stands between JoyVASA's code as published and today's packages; the checkout itself stays as it is."""


def device_of_the_motion_generator(device):
    """The motion generator and its mask on the chosen device: the code names "cuda" where it builds them."""
    from functools import partial

    from src.modules import dit_talking_head
    from src.utils import helper

    dit_talking_head.enc_dec_mask = partial(dit_talking_head.enc_dec_mask, device=device)
    helper.DitTalkingHead = partial(helper.DitTalkingHead, device=device)


def eager_attention(device):
    """Attention that returns its maps, as the official network asks; transformers' default of today cannot."""
    from functools import partial

    from src.modules.hubert import HubertModel

    HubertModel.from_pretrained = partial(HubertModel.from_pretrained, attn_implementation="eager")


def settings_in_the_checkpoint(device):
    """`torch.load` of today refuses what lies beside the tensors: the authors' command line, with paths."""
    import argparse
    import pathlib

    import torch

    torch.serialization.add_safe_globals([argparse.Namespace, pathlib.PosixPath])


class NoDetector:
    """Stands where insightface's networks and the landmark network would be when there are none."""

    def __init__(self, **settings):
        pass

    def prepare(self, **settings):
        pass

    def warmup(self):
        pass

    def get(self, picture, **settings):
        return []


def fabricated_detectors():
    """With fabricated weights only: finished ONNX files cannot be made; without a crop nothing depends on them."""
    from src.utils import cropper

    cropper.FaceAnalysisDIY = cropper.HumanLandmark = NoDetector


BY_NAME = {
    shim.__name__: shim for shim in (device_of_the_motion_generator, eager_attention, settings_in_the_checkpoint)
}


def apply(names, device):
    """Puts the named shims in place; the checkout is on the module path by then."""
    for name in names:
        BY_NAME[name](device)
