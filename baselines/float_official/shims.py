"""What FLOAT's code needs changed at run time, by name; the manifest and every report list the same names.

Nothing of the checkout is edited: each shim replaces an attribute of a library that the checkout imports.
"""

import functools


def eager_attention():
    """Load the speech networks with attention that returns its maps, as FLOAT asks (transformers from 4.36 on)."""
    from transformers import PreTrainedModel

    official = PreTrainedModel.from_pretrained.__func__

    @functools.wraps(official)
    def from_pretrained(cls, *args, **kwargs):
        kwargs.setdefault("attn_implementation", "eager")
        return official(cls, *args, **kwargs)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)


def cuda_is_cpu():
    """Leave tensors where they are when the code says .cuda() and there is no such device (the decoder's grid)."""
    import torch

    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self


def write_video():
    """Give torchvision its removed write_video back: H.264 through PyAV with the encoder's own quality."""
    import av
    import torchvision

    def write(filename, video_array, fps, *args, **kwargs):
        with av.open(str(filename), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=round(fps))
            stream.height, stream.width = video_array.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for picture in video_array.numpy():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())

    torchvision.io.write_video = write


def captured_frames(keep):
    """Hand the frames to `keep` where the encoder gets them; encode only when `keep` says so.

    The frames are FLOAT's own conversion: uint8 RGB, (T, H, W, 3).
    """
    import torchvision

    encode = torchvision.io.write_video

    def write(filename, video_array, fps, *args, **kwargs):
        if keep(video_array):
            encode(filename, video_array, fps, *args, **kwargs)

    torchvision.io.write_video = write


def checked_loading(matches):
    """Count what every speech network lacked in its file, in `matches`: FLOAT itself would not notice.

    `masked_spec_embed` is only used in training and may be absent.
    """
    from transformers import PreTrainedModel

    official = PreTrainedModel.from_pretrained.__func__

    @functools.wraps(official)
    def from_pretrained(cls, *args, **kwargs):
        model, info = official(cls, *args, output_loading_info=True, **kwargs)
        missing = [name for name in info["missing_keys"] if not name.endswith("masked_spec_embed")]
        matches[cls.__name__] = {"missing": sorted(missing), "mismatched": len(info["mismatched_keys"])}
        return model

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)


class NoFaceDetector:
    """Stands where face_alignment's detector would: with --no_crop it is built, hence downloaded, but never asked."""

    def __init__(self, *args, **kwargs):
        pass

    @property
    def face_detector(self):
        raise RuntimeError("the preset switches FLOAT's own crop off, yet FLOAT asked for its face detector")


def no_face_detector():
    """Build no face detector when FLOAT's own crop is switched off."""
    import face_alignment

    face_alignment.FaceAlignment = NoFaceDetector
