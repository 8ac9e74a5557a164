"""What stands between EDTalk's code as published and the packages of the modern profile, or a machine without a GPU.

The checkout itself stays as it is: each function replaces one name of a package, and the manifest lists them.
"""

import fractions

import numpy as np
import torch


def stay_on_cpu():
    """`cpu`: the scripts say `.cuda()` literally; without a GPU it leaves tensors and networks where they are."""
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self


def numpy_float():
    """`np.float`: the alias of the built-in type left NumPy in 1.24."""
    if "float" not in vars(np):
        np.float = float


def torch_qr():
    """`torch.qr`: replaced by `torch.linalg.qr`, with the same reduced factors."""

    def qr(matrix, some=True):
        return torch.linalg.qr(matrix, mode="reduced" if some else "complete")

    torch.qr = qr


def librosa_mel():
    """`librosa.filters.mel`: rate and window length became keywords in librosa 0.10."""
    import librosa

    mel = librosa.filters.mel

    def by_position(sr, n_fft, **kwargs):
        return mel(sr=sr, n_fft=n_fft, **kwargs)

    librosa.filters.mel = by_position


def librosa_stft():
    """`librosa.stft`: pads by reflection again, as up to librosa 0.8; zeros change the first and last two frames."""
    import librosa

    stft = librosa.stft

    def by_reflection(y, **kwargs):
        kwargs.setdefault("pad_mode", "reflect")
        return stft(y, **kwargs)

    librosa.stft = by_reflection


def read_video(path, pts_unit="sec"):
    """Frames (T, H, W, 3) uint8, no sound, and the rate, as torchvision's reader returned them."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        rate = float(stream.average_rate)
    return torch.from_numpy(np.stack(frames)), torch.empty(1, 0), {"video_fps": rate}


def write_video(path, frames, fps):
    """H.264 at the constant 1.024 Mb/s that torchvision's writer gave with the PyAV of the period profile."""
    import av

    with av.open(path, mode="w") as container:
        stream = container.add_stream("libx264", rate=fractions.Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 1024000
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def torchvision_video():
    """`torchvision.io.read_video` and `write_video`: taken out of torchvision; the same calls on PyAV."""
    import torchvision

    torchvision.io.read_video = read_video
    torchvision.io.write_video = write_video


BY_NAME = {
    shim.__name__: shim for shim in (stay_on_cpu, numpy_float, torch_qr, librosa_mel, librosa_stft, torchvision_video)
}


def apply(names, cpu):
    """Puts the named shims in place; `stay_on_cpu` only where there is no GPU."""
    for name in names:
        if cpu or name != "stay_on_cpu":
            BY_NAME[name]()
