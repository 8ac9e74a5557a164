"""Still pictures."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from floatbench.errors import ClipError
from floatbench.files import atomic_path
from floatbench.media.container import check_file
from floatbench.text import printable

MAX_IMAGE_PIXELS = 100_000_000
# Formats decoded by Pillow alone; PostScript, which would start another program, stays out.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "TGA", "AVIF")


def read_image(path: Path) -> np.ndarray:
    """Reads a picture as it is meant to be seen.

    The EXIF rotation is applied, 16-bit grey is scaled to 8 bits, transparent parts become black (as pp1's border), and
    of an animation the first picture is taken. Colour profiles are not applied.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ClipError: `missing`, `empty`, `unreadable` (also truncated files), `too_large` above 100 megapixels.
    """
    path = check_file(Path(path))
    Image.init()  # registers every format; the short list that Pillow loads on its own lacks WebP
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's size warning; the limit is checked below, before decoding
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > MAX_IMAGE_PIXELS:
                    raise ClipError("too_large", f"{printable(path)}: {image.width}x{image.height} pixels")
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ClipError("too_large", f"{printable(path)}: {error}") from error
    except UnidentifiedImageError as error:
        raise ClipError("unreadable", f"{printable(path)} is not a picture in a known format") from error
    except MemoryError as error:
        raise ClipError("out_of_memory", f"{printable(path)}: not enough memory to decode it") from error
    except ClipError:
        raise
    except (
        Exception
    ) as error:  # Pillow's parsers raise many kinds on damaged files; each one is a file that cannot be read
        raise ClipError("unreadable", f"{printable(path)}: {error or type(error).__name__}") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image).astype(np.float64)
        grey = np.clip(np.rint(grey / 257), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pictures have no defined range")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, rgba)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def write_image(path: Path, rgb: np.ndarray) -> None:
    """Writes (H, W, 3) uint8 RGB as a PNG file, or JPEG where the name ends in .jpg, whole or not at all."""
    kind = "JPEG" if Path(path).suffix.lower() in (".jpg", ".jpeg") else "PNG"
    with atomic_path(Path(path)) as partial:
        Image.fromarray(rgb).save(partial, format=kind)
