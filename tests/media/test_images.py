"""Pictures of every kind become (H, W, 3) uint8 R-G-B, or one line that says why not."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from floatbench.errors import ClipError
from floatbench.media import image as image_module
from floatbench.media import read_image

RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(RAMP[..., None], 3, axis=2))


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    deep = RAMP.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[..., 1], RAMP)


def test_transparent_parts_become_black(tmp_path: Path) -> None:
    alpha = np.zeros((12, 20, 1), np.uint8)
    alpha[:, 10:] = 255
    Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert not read[:, :10].any()
    np.testing.assert_array_equal(read[:, 10:], COLOUR[:, 10:])


@pytest.mark.parametrize("mode", ["LA", "P", "1", "CMYK", "L"])
def test_every_mode_is_read(tmp_path: Path, mode: str) -> None:
    name = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(COLOUR).convert("RGB" if mode == "LA" else mode).convert(mode).save(name)
    assert read_image(name).shape == (12, 20, 3)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown after a quarter turn clockwise
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(COLOUR, -1))


@pytest.mark.parametrize("ending", ["webp", "bmp", "gif", "tif", "ppm", "jpg"])
def test_formats_are_recognised_by_content(tmp_path: Path, ending: str) -> None:
    Image.fromarray(COLOUR).save(tmp_path / f"a.{ending}")
    (tmp_path / f"a.{ending}").rename(tmp_path / "a.txt")
    assert read_image(tmp_path / "a.txt").shape == (12, 20, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "missing"), (b"", "empty"), (b"plain text", "unreadable"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unreadable")],
)
def test_what_is_no_picture_is_refused_with_a_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ClipError) as caught:
        read_image(tmp_path / "a.png")
    assert caught.value.reason == reason


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_a_truncated_picture_is_refused(tmp_path: Path, ending: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / f"a.{ending}")
    whole = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClipError, match="unreadable"):
        read_image(tmp_path / f"a.{ending}")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">II5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))))
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(ClipError, match="too_large"):
        read_image(tmp_path / "bomb.png")
    monkeypatch.setattr(image_module, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(COLOUR).save(tmp_path / "small.png")
    with pytest.raises(ClipError, match="20x12"):
        read_image(tmp_path / "small.png")
