"""RGB to yuv420p planes: closed forms, and beside FFmpeg's converter."""

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from floatbench.media import Mp4Writer, read_video
from floatbench.sampling.colour import to_yuv420


def _smooth(size: int = 128, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    picture = F.interpolate(torch.rand(1, 3, 9, 9, generator=generator), size=(size, size), mode="bicubic")
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [((0, 0, 0), (16, 128, 128)), ((255, 255, 255), (235, 128, 128)), ((255, 0, 0), (81, 90, 240)),
     ((0, 255, 0), (145, 54, 34)), ((0, 0, 255), (41, 240, 110))],
)  # fmt: skip
def test_the_colours_of_bt601_have_their_published_levels(rgb, yuv):
    planes = to_yuv420(torch.tensor(rgb, dtype=torch.uint8).expand(1, 4, 4, 3))
    assert planes.shape == (1, 6, 4)
    assert planes[0, :4].unique().tolist() == [yuv[0]]
    assert planes[0].flatten()[16:20].unique().tolist() == [yuv[1]] and planes[0].flatten()[20:].unique().tolist() == [
        yuv[2]
    ]


def test_a_chroma_sample_is_the_mean_of_its_four_pixels():
    pixels = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    pixels[0, 0, 0] = torch.tensor([255, 0, 0])  # a quarter of red: 128 + (240 - 128) / 4
    planes = to_yuv420(pixels)[0].flatten()
    assert planes[10:].tolist() == [156, 128]


def test_planes_equal_those_of_ffmpeg_on_smooth_pictures():
    for seed in range(3):
        pixels = _smooth(seed=seed)[0].numpy()
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        theirs = frame.reformat(format="yuv420p", dst_colorspace="SMPTE170M", dst_color_range="MPEG").to_ndarray()
        ours = to_yuv420(torch.from_numpy(pixels)[None])[0].numpy()
        off = np.abs(ours.astype(int) - theirs)
        assert off[:128].max() <= 1 and off[128:].max() <= 2
        assert off.mean() < 0.5


def test_a_video_of_planes_is_as_true_as_the_video_of_pictures(tmp_path):
    pixels = _smooth()[0]
    errors = {}
    for name, frame in {"rgb": pixels.numpy(), "yuv": to_yuv420(pixels[None])[0].numpy()}.items():
        with Mp4Writer(tmp_path / f"{name}.mp4", 128, 128) as writer:
            writer.write(frame)
        errors[name] = np.abs(read_video(tmp_path / f"{name}.mp4")[0][0].astype(int) - pixels.numpy()).mean()
    assert errors["yuv"] < 1.1 * errors["rgb"] < 6


def test_odd_sizes_and_wrong_planes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="even sizes"):
        to_yuv420(torch.zeros(1, 4, 5, 3, dtype=torch.uint8))
    with Mp4Writer(tmp_path / "o.mp4", 4, 4) as writer:
        with pytest.raises(ValueError, match="expected"):
            writer.write(np.zeros((5, 4), np.uint8))
        writer.write(np.zeros((6, 4), np.uint8))
