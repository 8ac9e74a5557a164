"""The modules carry exactly the entries of the official release, by name and shape (facts measured on the release)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from floatbench.model.float import FloatModel

TABLE = Path(__file__).with_name("float_state_dict.csv")
UNUSED = ("noise.weight", "to_rgb1.", "masked_spec_embed")


@pytest.fixture(scope="module")
def skeleton() -> FloatModel:
    with torch.device("meta"):
        return FloatModel()


@pytest.fixture(scope="module")
def official() -> dict[str, tuple[int, ...]]:
    with TABLE.open() as stream:
        return {row["key"]: tuple(int(n) for n in row["shape"].split("x")) for row in csv.DictReader(stream)}


def test_names_and_shapes_are_those_of_the_official_release(skeleton, official):
    assert len(official) == 947
    assert {key: tuple(value.shape) for key, value in skeleton.state_dict().items()} == official


@pytest.mark.parametrize(
    ("prefix", "parameters"),
    [
        ("motion_autoencoder.enc.net_app.", 21_665_312),
        ("motion_autoencoder.enc.fc.", 1_060_884),
        ("motion_autoencoder.dec.", 22_513_364),
        ("audio_encoder.audio_projection.", 4_720_128),
        ("audio_encoder.wav2vec2.", 94_371_712),
        ("emotion_encoder.", 316_495_495),
        ("fmt.", 156_698_112),
        ("", 617_525_007),
    ],
)
def test_parts_have_the_published_number_of_parameters(skeleton, prefix, parameters):
    entries = {k: v for k, v in skeleton.state_dict().items() if k.startswith(prefix)}
    fixed = ("kernel", "alignment_mask")
    assert sum(v.numel() for k, v in entries.items() if not k.endswith(fixed)) == parameters


def test_entries_that_no_computation_reads_take_no_gradient(skeleton):
    trained = {name for name, parameter in skeleton.named_parameters() if parameter.requires_grad}
    assert not [name for name in trained if any(part in name for part in UNUSED)]
    assert not [name for name in trained if "wav2vec2" in name]
