"""Box back ends by the name a protocol uses."""

from __future__ import annotations

from pathlib import Path

from floatbench.errors import UsageError
from floatbench.media.boxes import BoxBackend


def box_backend(name: str, *, file: Path | None = None, device: str = "cpu") -> BoxBackend:
    """Makes the back end `s3fd`, `mediapipe`, `given` or `none`.

    Args:
        name: as in a protocol's `preprocessing.boxes`.
        file: the CSV or JSON file of `given`.
        device: torch device of `s3fd`.

    Raises:
        UsageError: an unknown name, or `given` without a file.
        DataError: the model file is missing (with the command that fetches it) or the boxes cannot be understood.
        DependencyError: the package is missing.
    """
    if name == "s3fd":
        from floatbench.media.boxes_s3fd import S3fdBoxes

        return S3fdBoxes(device)
    if name == "mediapipe":
        from floatbench.media.boxes_mediapipe import MediapipeBoxes

        return MediapipeBoxes()
    from floatbench.media.boxes_given import GivenBoxes, NoBoxes

    if name == "none":
        return NoBoxes()
    if name == "given":
        if file is None:
            raise UsageError("the box back end 'given' needs a file of boxes", fix="see docs/media.md, 'Own boxes'")
        return GivenBoxes(file)
    raise UsageError(f"unknown box back end {name!r}", fix="choose one of s3fd, mediapipe, given, none")
