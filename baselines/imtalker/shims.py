"""What stands between IMTalker's code as published and today's packages; the checkout itself stays as it is."""


def eager_attention():
    """Attention that returns its maps, as the official network asks; transformers' default of today cannot."""
    from functools import partial

    from generator.wav2vec2 import Wav2VecModel

    Wav2VecModel.from_pretrained = partial(Wav2VecModel.from_pretrained, attn_implementation="eager")


def no_face_detector():
    """No face detector is built (and fetched): it is asked with `--crop` only, which no preset uses."""
    import face_alignment

    face_alignment.FaceAlignment = lambda *args, **kwargs: None


def write_video():
    """`torchvision.io.write_video`: taken out of torchvision; the same call on PyAV."""
    import torchvision

    torchvision.io.write_video = encode


def encode(path, frames, fps):
    """H.264 of (T, H, W, 3) uint8 frames, with the encoder's own quality."""
    import fractions

    import av

    with av.open(path, mode="w") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


BY_NAME = {shim.__name__: shim for shim in (eager_attention, no_face_detector, write_video)}


def apply(names):
    """Puts the named shims in place; the checkout is on the module path by then."""
    for name in names:
        BY_NAME[name]()
