"""FLOAT checkpoints from the official form to safetensors with metadata, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floatbench import weights
from floatbench.errors import DataError, UsageError


def convert(
    source: str,
    target: Path,
    speech: Path | None = None,
    emotion: Path | None = None,
    with_speech: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Checks a checkpoint strictly and writes it as `target`, whose suffix says the form.

    Args:
        source: `float` (the verified official file beside the registry's two speech folders), or a path.
        target: `.safetensors`: every entry, with metadata; `.pth`: the release's flat state dict.
        speech, emotion: folders of the two speech networks, for a `source` that does not hold them.
        with_speech: `.pth` only: include the speech networks, which the release keeps in folders of their own.
        force: replaces a file that is there.

    Returns:
        What the file says about itself: configuration, hash of the source, licence.

    Raises:
        UsageError: a suffix or option that does not fit, a file that is there, or fabricated weights by name.
        DataError: weights are missing, damaged, hold code, or an entry is missing, unknown, misshapen or not finite.
    """
    target = Path(target)
    if target.suffix not in {".safetensors", ".pth"}:
        raise UsageError(f"{target}: the suffix says the form", fix="TARGET.safetensors or TARGET.pth")
    if with_speech and target.suffix != ".pth":
        raise UsageError("--with-speech is for .pth: safetensors always holds every entry")
    if target.exists() and not force:
        raise UsageError(f"{target} is there already", fix="another name, or --force")
    origin, speech, emotion = _origin(source, speech, emotion)
    if target.exists() and target.resolve() == origin.resolve():
        raise UsageError(f"{target} would replace its own source", fix="another name")
    from floatbench.model import checkpoint

    if target.suffix == ".safetensors":
        metadata = checkpoint.convert(origin, target, speech, emotion)
    else:
        metadata = checkpoint.read_metadata(origin)
        checkpoint.export_official(checkpoint.load(origin, speech, emotion), target, with_speech)
    return {
        "config": metadata.config.to_dict(),
        "source_sha256": metadata.source_sha256,
        "licence": metadata.licence,
        "notes": metadata.notes,
    }


def _origin(source: str, speech: Path | None, emotion: Path | None) -> tuple[Path, Path | None, Path | None]:
    """The files behind `float`, or a path as it is."""
    if source != "float":
        path = Path(source)
        if not path.is_file():
            raise DataError(f"{path} does not exist", fix="floatbench weights convert float TARGET")
        return path, speech, emotion
    names = ("float", "wav2vec2-base-960h", "wav2vec2-speech-emotion")
    files = [weights.path(name) for name in names]
    if made := [name for name in names if weights.is_fabricated(name)]:
        # the new file would carry no sign that its numbers are random
        raise UsageError(
            f"{', '.join(made)} are fabricated and are not converted", fix="floatbench weights fetch float"
        )
    return files[0], speech or files[1], emotion or files[2]
