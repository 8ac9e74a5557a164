"""FLOAT and its two speech networks load as they are published, by the entries that public facts show."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from floatbench import weights
from floatbench.errors import DataError
from floatbench.model import checkpoint
from floatbench.model.config import FLOAT_512
from floatbench.weights import key_lists

SPEECH, EMOTION = "wav2vec2-base-960h", "wav2vec2-speech-emotion"
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def listed(name: str) -> key_lists.KeyList:
    found = key_lists.read(name)
    assert found is not None
    return found


def tensors(name: str) -> dict[str, Tensor]:
    """The entries of a published file; each is one number, so that no gigabytes are needed."""
    state = {}
    for key, (shape, dtype) in listed(name).entries.items():
        constant = checkpoint._is_constant(key)
        value = checkpoint._constant(key, FLOAT_512) if constant else torch.zeros(1).expand(shape)
        state[key] = value.to(getattr(torch, dtype))
    return state


@pytest.fixture
def published(tmp_path: Path) -> Callable[..., tuple[Path, Path, Path]]:
    """The three downloads, each with a change of its entries."""

    def write(speech: Change = dict, emotion: Change = dict) -> tuple[Path, Path, Path]:
        files = (tmp_path / "float.pth", *(tmp_path / name / "pytorch_model.bin" for name in (SPEECH, EMOTION)))
        for file, name, change in zip(files, ("float", SPEECH, EMOTION), (dict, speech, emotion), strict=True):
            file.parent.mkdir(exist_ok=True)
            torch.save(change(tensors(name)), file)
        return files[0], files[1].parent, files[2].parent

    return write


def test_the_list_of_the_speech_network_gives_the_published_size_to_the_byte():
    """Safetensors: eight bytes, the header, the tensors by name; this file is older than the header's padding."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key, (shape, _) in sorted(listed(SPEECH).entries.items()):
        start, end = end, end + 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    size = next(file.size for file in weights.entry(SPEECH).files if file.path == "model.safetensors")
    assert 8 + len(json.dumps(header, separators=(",", ":"))) + end == size == 377_607_901


@pytest.mark.parametrize(("name", "gigabytes"), [("float", 0.827), (EMOTION, 1.27)])
def test_the_other_lists_fit_the_rounded_public_sizes(name, gigabytes):
    total = sum(4 * math.prod(shape) for shape, _ in listed(name).entries.values())
    assert total / 1e9 == pytest.approx(gigabytes, abs=0.005)


def parametrized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return checkpoint.parametrized(state)


def unmasked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if "masked_spec_embed" not in key}


@pytest.mark.parametrize("emotion", [dict, parametrized, unmasked])
@pytest.mark.parametrize("speech", [dict, parametrized])
def test_the_three_published_files_are_a_whole_model(published, speech, emotion):
    state = checkpoint.complete(checkpoint.read_state(*published(speech, emotion)), FLOAT_512)
    assert len(state) == 947
    assert not state["audio_encoder.wav2vec2.masked_spec_embed"].any()


def test_what_nothing_reads_is_the_only_entry_that_the_published_speech_file_lacks():
    ours = {key for key in checkpoint.empty(FLOAT_512).state_dict() if key.startswith(checkpoint.AUDIO_PREFIX)}
    theirs = {checkpoint.AUDIO_PREFIX + key.removeprefix("wav2vec2.") for key in listed(SPEECH).entries}
    assert ours - theirs == {"audio_encoder.wav2vec2.masked_spec_embed"}
    assert theirs - ours == {checkpoint.AUDIO_PREFIX + key for key in checkpoint.LETTERS}


@pytest.mark.parametrize("folder", ["speech", "emotion"])
@pytest.mark.parametrize("key", ["wav2vec2.encoder.layers.1.layer_norm.bias", "lm_head.extra", "classifier.third.bias"])
def test_both_folders_refuse_what_they_do_not_know_and_miss_what_they_need(published, folder, key):
    def other(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in state.items() if k != key} if key in state else state | {key: torch.zeros(1)}

    state = checkpoint.read_state(*published(**{folder: other}))
    with pytest.raises(DataError, match="missing entry: .*" + key if "layers" in key else "unknown entry: .*" + key):
        checkpoint.complete(state, FLOAT_512)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float", SPEECH, EMOTION])
def test_fabricated_files_hold_what_the_published_ones_do(name, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    path, found = weights.fabricate(name), listed(name)
    file = path / found.facts.get("file", "")
    if found.facts["container"] == "safetensors":
        state = load_file(file)
        with safe_open(file, framework="pt") as stream:
            assert stream.metadata() == {"format": "pt"}
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
    shapes = {key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()}
    assert shapes == found.entries
