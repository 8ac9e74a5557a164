"""Fixtures of the tests of `floatbench generate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generating import FACE, sound
from PIL import Image

from floatbench.model.checkpoint import Metadata, save
from floatbench.model.config import FLOAT_TINY
from floatbench.model.float import FloatModel


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = replace(
        FLOAT_TINY, name="float-test", image_size=64, channel_max=8, channel_base=512, dim_w=8, dim_m=4, dim_a=8,
        dim_h=16, depth=1, mel_bands=16, mel_width=16, reader=False, painter=False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "float-test.safetensors"
    save(FloatModel(config), path, Metadata(config, licence="none: random weights"))
    return path


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a face and 0.12 s of speech in `in/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "0")  # restored afterwards, whatever --fabricated sets
    (tmp_path / "in").mkdir()
    Image.fromarray(FACE).save("in/face.png")
    sound(tmp_path / "in/speech.wav", 0.12)
    return tmp_path
