"""Weights load strictly, in every form the release and its conversions come in; anything else is a named error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from floatbench.errors import DataError
from floatbench.model import checkpoint
from floatbench.model.checkpoint import Metadata
from floatbench.model.config import CONFIGS, FLOAT_512, FLOAT_TINY
from floatbench.model.float import FloatModel
from floatbench.model.randomise import randomise


@pytest.fixture(scope="module")
def tiny() -> FloatModel:
    model = FloatModel(FLOAT_TINY)
    randomise(model, seed=3)
    return model.eval()


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("float-tiny")])
def test_a_saved_model_comes_back_with_its_configuration(name, tmp_path):
    model = FloatModel(CONFIGS[name])
    checkpoint.save(model, tmp_path / "m.safetensors", Metadata(CONFIGS[name], "ab" * 32, "Apache-2.0", "trained here"))
    loaded = checkpoint.load(tmp_path / "m.safetensors")
    assert loaded.config == CONFIGS[name] and not loaded.training
    assert equal(loaded.state_dict(), model.state_dict())
    metadata = checkpoint.read_metadata(tmp_path / "m.safetensors")
    assert (metadata.source_sha256, metadata.licence, metadata.notes) == ("ab" * 32, "Apache-2.0", "trained here")


@torch.no_grad()
def test_a_loaded_model_computes_what_the_saved_one_did(tiny, tmp_path):
    checkpoint.save(tiny, tmp_path / "m.safetensors", Metadata(FLOAT_TINY))
    loaded = checkpoint.load(tmp_path / "m.safetensors")
    image, wave = torch.rand(1, 3, 128, 128), torch.randn(1, 9_000)
    latent, features = tiny.encode_image(image)
    assert torch.equal(loaded.decode(latent, features)[0], tiny.decode(latent, features)[0])
    assert torch.equal(loaded.encode_audio(wave, 15), tiny.encode_audio(wave, 15))
    assert torch.equal(loaded.predict_emotion(wave), tiny.predict_emotion(wave))


def test_loaded_weights_lie_where_torch_itself_would_put_them(tiny, tmp_path):
    """In a mapped file they lie anywhere, kernels take other paths there, and equal weights give other last bits."""
    checkpoint.save(tiny, tmp_path / "m.safetensors", Metadata(FLOAT_TINY))
    loaded = checkpoint.load(tmp_path / "m.safetensors")
    assert {value.data_ptr() % 64 for value in loaded.state_dict().values()} == {0}


def test_half_precision_files_load_as_float32(tiny, tmp_path):
    checkpoint.save(tiny, tmp_path / "m.safetensors", Metadata(FLOAT_TINY), dtype=torch.float16)
    loaded = checkpoint.load(tmp_path / "m.safetensors").state_dict()
    assert {v.dtype for k, v in loaded.items() if not k.endswith("alignment_mask")} == {torch.float32}
    for key, value in tiny.state_dict().items():
        assert torch.allclose(loaded[key].float(), value.float(), atol=2e-3, rtol=1e-3), key


def test_constant_buffers_may_be_absent(tiny, tmp_path):
    bare = {k: v for k, v in tiny.state_dict().items() if not k.endswith((".kernel", "alignment_mask"))}
    assert len(bare) < len(tiny.state_dict())
    torch.save(bare, tmp_path / "m.pth")
    assert equal(checkpoint.load(tmp_path / "m.pth", config=FLOAT_TINY).state_dict(), tiny.state_dict())


def broken(change: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    key = "fmt.blocks.1.attn.qkv.bias"
    if change == "missing":
        del state[key]
    elif change == "unknown":
        state["fmt.blocks.9.attn.qkv.bias"] = torch.zeros(3)
    elif change == "shape":
        state[key] = state[key][:-1]
    elif change == "nan":
        state[key] = state[key].clone().fill_(float("nan"))
    elif change == "integer":
        state[key] = state[key].long()
    elif change == "constant":
        state["motion_autoencoder.dec.convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    return state


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("missing", "1 missing entry: fmt.blocks.1.attn.qkv.bias"),
        ("unknown", "1 unknown entry: fmt.blocks.9.attn.qkv.bias"),
        ("shape", r"fmt.blocks.1.attn.qkv.bias has shape \(383,\), expected \(384,\)"),
        ("nan", "fmt.blocks.1.attn.qkv.bias holds NaN"),
        ("integer", "fmt.blocks.1.attn.qkv.bias holds torch.int64"),
        ("constant", "blur.kernel is a constant"),
    ],
)
def test_a_wrong_entry_is_an_error_that_names_it(tiny, tmp_path, change, text):
    torch.save(broken(change, dict(tiny.state_dict())), tmp_path / "m.pth")
    with pytest.raises(DataError, match=text):
        checkpoint.load(tmp_path / "m.pth", config=FLOAT_TINY)


class Code:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path, capsys):
    torch.save({"fmt.pos_embed": Code()}, tmp_path / "m.pth")
    with pytest.raises(DataError, match="refused"):
        checkpoint.load(tmp_path / "m.pth")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_a_damaged_file_is_a_data_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError):
        checkpoint.load(tmp_path / name)


def test_an_absent_file_names_the_command_that_fetches_it(tmp_path):
    with pytest.raises(DataError, match="floatbench weights fetch float --accept-license"):
        checkpoint.load(tmp_path / "float.pth")


def test_conversion_keeps_every_entry_and_records_its_source(tiny, tmp_path):
    torch.save(checkpoint.parametrized(tiny.state_dict()), tmp_path / "m.pth")
    metadata = checkpoint.convert(tmp_path / "m.pth", tmp_path / "m.safetensors", config=FLOAT_TINY)
    assert len(metadata.source_sha256) == 64
    with safe_open(tmp_path / "m.safetensors", framework="pt") as stream:
        assert set(stream.keys()) == set(tiny.state_dict())
        assert json.loads(stream.metadata()["config"]) == FLOAT_TINY.to_dict()
    assert equal(checkpoint.load(tmp_path / "m.safetensors").state_dict(), tiny.state_dict())


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    """All 947 entries with one value each, as the release's three downloads: small on disk, exact in name and shape."""
    folder = tmp_path_factory.mktemp("official")
    with torch.device("meta"):
        shapes = FloatModel(FLOAT_512).state_dict()
    state = {key: constant_or_zero(key, value) for key, value in shapes.items()}
    audio, emotion = checkpoint.AUDIO_PREFIX, checkpoint.EMOTION_PREFIX
    torch.save({k: v for k, v in state.items() if not k.startswith((audio, emotion))}, folder / "float.pth")
    (folder / "audio").mkdir()
    (folder / "emotion").mkdir()
    base = {"wav2vec2." + k.removeprefix(audio): v for k, v in state.items() if k.startswith(audio)}
    torch.save(base | {"lm_head.weight": torch.zeros(32, 768)}, folder / "audio" / "pytorch_model.bin")
    large = {k.removeprefix(emotion): v for k, v in state.items() if k.startswith(emotion)}
    torch.save(checkpoint.parametrized(large), folder / "emotion" / "pytorch_model.bin")
    torch.save(checkpoint.parametrized(state), folder / "unified.pth")
    return folder


def constant_or_zero(key: str, value: torch.Tensor) -> torch.Tensor:
    if key.endswith((".kernel", "alignment_mask")):
        return checkpoint._constant(key, FLOAT_512)
    return torch.zeros(1).expand(value.shape)  # stored as one number


def test_the_three_official_downloads_hold_all_entries(official):
    state = checkpoint.read_state(official / "float.pth", official / "audio", official / "emotion")
    assert len(checkpoint.complete(state, FLOAT_512)) == 947


def test_the_unified_file_in_the_new_weight_norm_spelling_holds_all_entries(official):
    assert len(checkpoint.complete(checkpoint.read_state(official / "unified.pth"), FLOAT_512)) == 947


def test_float_pth_alone_asks_for_the_speech_folders(official):
    with pytest.raises(DataError, match=r"635 missing entries: .*\nfix: give the two speech-model folders too"):
        checkpoint.complete(checkpoint.read_state(official / "float.pth"), FLOAT_512)


def test_an_entry_of_the_file_wins_over_the_folder(tmp_path):
    (tmp_path / "audio").mkdir()
    save_file({"wav2vec2.masked_spec_embed": torch.ones(768)}, tmp_path / "audio" / "model.safetensors")
    torch.save({"audio_encoder.wav2vec2.masked_spec_embed": torch.full((768,), 2.0)}, tmp_path / "float.pth")
    state = checkpoint.read_state(tmp_path / "float.pth", speech=tmp_path / "audio")
    assert float(state["audio_encoder.wav2vec2.masked_spec_embed"][0]) == 2.0


def test_a_full_disk_leaves_no_file(tiny, tmp_path, monkeypatch):
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(Exception, match="disk is full"):
        checkpoint.save(tiny, tmp_path / "m.safetensors", Metadata(FLOAT_TINY))
    assert not list(tmp_path.iterdir())
