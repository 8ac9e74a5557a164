"""The encoder of `.mp4` is a choice: NVENC where it opens, else x264, which is said. Another one stands in for it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from floatbench.animate.jobs import GenerateSettings, VideoJob, run
from floatbench.errors import UsageError
from floatbench.media import probe, usable_encoder, write_image, write_wav, writers
from floatbench.progress import NullProgress
from floatbench.sampling.choices import ModelChoices
from floatbench.sampling.options import SamplingOptions


class Notes(NullProgress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def made(folder: Path, checkpoint: Path, encoder: str) -> tuple[str, str, list[str]]:
    """Codec of the video, the settings that it holds, and what was told."""
    write_image(folder / "face.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    write_wav(folder / "speech.wav", np.random.default_rng(0).normal(0, 3000, 640 * 3).astype(np.int16))
    common = GenerateSettings(
        weights=str(checkpoint), choices=ModelChoices(options=SamplingOptions(nfe=2)), device="cpu", crop="none",
        encoder=encoder,
    )  # fmt: skip
    notes = Notes()
    run(common, [VideoJob(folder / "face.png", folder / "speech.wav", folder / "out.mp4")], notes)
    with av.open(str(folder / "out.mp4")) as video:
        codec = video.streams.video[0].codec_context.name
    return codec, probe(folder / "out.mp4").metadata["floatbench"], notes.told


def test_another_encoder_is_used_where_it_opens_and_the_file_says_so(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(writers.ENCODERS, "nvenc", "mpeg4")
    codec, settings, told = made(tmp_path, checkpoint, "nvenc")
    assert codec == "mpeg4" and '"encoder": "nvenc"' in settings and not any("NVENC" in note for note in told)


def test_an_encoder_that_does_not_open_falls_back_to_x264_and_says_so(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(writers.ENCODERS, "nvenc", "no_such_codec")
    codec, settings, told = made(tmp_path, checkpoint, "nvenc")
    assert codec == "h264" and '"encoder"' not in settings
    assert "NVENC cannot be used (FFmpeg does not know no_such_codec): x264 encodes" in told


def test_the_settings_of_x264_are_what_they_were(checkpoint, tmp_path):
    assert '"encoder"' not in made(tmp_path, checkpoint, "x264")[1]  # else videos of before would be made again


def test_an_unknown_encoder_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="one of x264, nvenc, not 'nvec'") as refused:
        usable_encoder("nvec")
    assert "nvenc" in (refused.value.fix or "")
