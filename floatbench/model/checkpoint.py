"""Weights in and out: the official release's files, the speech networks' folders, and safetensors with metadata.

Every entry is checked by name, shape and finiteness; nothing is skipped. Accepted forms of the official weights:
`float.pth` alone beside the two speech-model folders, one file with all 947 entries, with or without the constant
buffers, and both spellings of the positional convolutions' weight norm. Pickles are read with `weights_only`: code in
them is refused.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from floatbench.errors import DataError
from floatbench.files import aligned, atomic_path, file_sha256, write_json, write_safetensors
from floatbench.model.config import FLOAT_512, FloatConfig
from floatbench.model.float import FloatModel
from floatbench.model.layers import blur_kernel
from floatbench.model.randomise import entry
from floatbench.model.transformer import blocked_mask, position_table
from floatbench.model.wav2vec2 import BASE

State = dict[str, Tensor]
FORMAT = "floatbench-float-1"
AUDIO_PREFIX = "audio_encoder.wav2vec2."
EMOTION_PREFIX = "emotion_encoder.wav2vec2_for_emotion."
SPELLINGS = (
    (".conv.parametrizations.weight.original0", ".conv.weight_g"),
    (".conv.parametrizations.weight.original1", ".conv.weight_v"),
)
LICENCE = "CC BY-NC 4.0 (LICENSE file of the release) or CC BY-NC-ND 4.0 (its README): non-commercial in either reading"
FETCH = "floatbench weights fetch float --accept-license"
LETTERS = ("lm_head.weight", "lm_head.bias")
"""The letter classifier of the published speech network: no part of FLOAT, and ignored."""
UNREAD = ".masked_spec_embed"
"""What covers masked frames in pre-training: the published speech network has none, and nothing here reads it."""


@dataclass(frozen=True)
class Metadata:
    """What a safetensors file written by `save` says about itself.

    Attributes:
        config: of the model.
        source_sha256: of the files the weights were converted from, "" when trained here.
        licence: of the weights.
        notes: anything else, e.g. the training run.
    """

    config: FloatConfig
    source_sha256: str = ""
    licence: str = ""
    notes: str = ""

    def to_strings(self) -> dict[str, str]:
        """The form safetensors stores."""
        return {
            "format": FORMAT,
            "config": json.dumps(self.config.to_dict(), sort_keys=True),
            "source_sha256": self.source_sha256,
            "licence": self.licence,
            "notes": self.notes,
        }


def load(
    path: Path,
    speech: Path | None = None,
    emotion: Path | None = None,
    config: FloatConfig | None = None,
    device: torch.device | str = "cpu",
) -> FloatModel:
    """A model in evaluation mode with the weights of a file, strictly.

    Args:
        path: `.safetensors`, or a pickle of tensors (`.pth`, `.pt`, `.bin`, `.ckpt`).
        speech: Hugging Face folder of wav2vec2-base-960h, when `path` holds no speech network.
        emotion: Hugging Face folder of the emotion recogniser, likewise.
        config: of the weights; None takes the file's own metadata, else `float-512`.
        device: where the model goes.

    Raises:
        DataError: the file cannot be read, holds code, or an entry is missing, unknown, misshapen or not finite.
    """
    path = Path(path)
    config = config or read_metadata(path).config
    state = complete(read_state(path, speech, emotion), config, str(path))
    model = empty(config)
    model.load_state_dict(state, strict=True, assign=True)
    return model.to(device).eval()


def empty(config: FloatConfig) -> FloatModel:
    """A model without storage for its weights (on the `meta` device), its computed constants present."""
    with torch.device("meta"):
        model = FloatModel(config)
    model.restore_constants()
    return model


def read_metadata(path: Path) -> Metadata:
    """What a safetensors file says about itself; any other file is taken for the official `float-512`."""
    official = Metadata(FLOAT_512, licence=LICENCE)
    if Path(path).suffix != ".safetensors":
        return official
    with _opened(Path(path)) as stream:
        found = stream.metadata() or {}
    if found.get("format") != FORMAT:
        return official
    try:
        config = FloatConfig.from_dict(json.loads(found["config"]))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: its configuration cannot be read: {error}") from error
    return Metadata(config, found.get("source_sha256", ""), found.get("licence", ""), found.get("notes", ""))


def read_state(path: Path, speech: Path | None = None, emotion: Path | None = None) -> State:
    """All tensors of a file and of the speech-model folders under the release's names (not yet checked).

    An entry of the file wins over the same entry of a folder, as in the release.
    """
    return speech_state(speech, emotion) | respell(read_tensors(Path(path)))


def speech_state(speech: Path | None = None, emotion: Path | None = None) -> State:
    """The tensors of the speech-model folders under the release's names."""
    folders: State = {}
    if speech is not None:
        folders |= _speech_entries(Path(speech))
    if emotion is not None:
        folders |= {EMOTION_PREFIX + key: value for key, value in respell(read_tensors(_weights_in(emotion))).items()}
    return folders


def _speech_entries(folder: Path) -> State:
    """The wav2vec 2.0 part of a folder, without the letter classifier."""
    tensors = respell(read_tensors(_weights_in(folder)))
    return {AUDIO_PREFIX + key.removeprefix("wav2vec2."): value for key, value in tensors.items() if key not in LETTERS}


def _weights_in(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise DataError(f"{folder} holds neither model.safetensors nor pytorch_model.bin", fix=FETCH)


def read_tensors(path: Path) -> State:
    """The named tensors of a safetensors file or of a pickle that holds nothing but tensors."""
    if not path.is_file():
        raise DataError(f"{path} does not exist", fix=FETCH)
    if path.suffix == ".safetensors":
        with _opened(path) as stream:
            return {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a mapping
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(f"{path} is refused: it is damaged or holds code beside its tensors", fix=FETCH) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as weights: {error}", fix=FETCH) from error
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DataError(f"{path} must hold a flat mapping of names to tensors")
    return dict(loaded)


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path} does not exist", fix=FETCH)
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}", fix=FETCH) from error


def respell(state: State) -> State:
    """Both spellings of the weight norm become `weight_g` and `weight_v`."""
    renamed = {}
    for key, value in state.items():
        for new, old in SPELLINGS:
            key = key.replace(new, old)
        renamed[key] = value
    return renamed


def parametrized(state: State) -> State:
    """`weight_g` and `weight_v` become the spelling of torch >= 2.1, for libraries that expect it."""
    renamed = {}
    for key, value in state.items():
        for new, old in SPELLINGS:
            key = key.removesuffix(old) + new if key.endswith(old) else key
        renamed[key] = value
    return renamed


def complete(state: State, config: FloatConfig, where: str = "the state dict") -> State:
    """The entries of a model of this configuration, checked one by one.

    Absent constant buffers are filled in, and so are the entries that nothing reads (`UNREAD`), with zeros.
    Half-precision entries become float32.

    Raises:
        DataError: naming the missing, unknown, misshapen or non-finite entries (the first three of each).
    """
    with torch.device("meta"):
        expected = FloatModel(config).state_dict()
    constants = {key: _constant(key, config) for key in expected if _is_constant(key)}
    unread = {key: torch.zeros(value.shape) for key, value in expected.items() if key.endswith(UNREAD)}
    state = constants | unread | state
    missing = [key for key in expected if key not in state]
    if missing:
        speech = all(key.startswith((AUDIO_PREFIX, EMOTION_PREFIX)) for key in missing)
        fix = "give the two speech-model folders too, or " + FETCH if speech else FETCH
        raise DataError(f"{where}: {_some('missing', missing)}", fix=fix)
    unknown = [key for key in state if key not in expected]
    if unknown:
        raise DataError(f"{where}: {_some('unknown', unknown)}")
    return {key: _checked(key, state[key], expected[key], constants, where) for key in expected}


def _checked(key: str, value: Tensor, expected: Tensor, constants: State, where: str) -> Tensor:
    if value.shape != expected.shape:
        raise DataError(f"{where}: {key} has shape {tuple(value.shape)}, expected {tuple(expected.shape)}")
    if expected.dtype == torch.bool:
        value = value.bool()
    elif not value.is_floating_point():
        raise DataError(f"{where}: {key} holds {value.dtype}, expected floating-point numbers")
    else:
        value = value.float()
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"{where}: {key} holds NaN or infinite values")
    if key in constants and not torch.allclose(value.float(), constants[key].float(), atol=1e-3):
        raise DataError(f"{where}: {key} is a constant of the model, but the file holds other values")
    return aligned(value)


def _some(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} {kind} {'entry' if len(keys) == 1 else 'entries'}: {', '.join(keys[:3])}{more}"


def _is_constant(key: str) -> bool:
    return key.endswith((".kernel", "fmt.alignment_mask"))


def _constant(key: str, config: FloatConfig) -> Tensor:
    if key.endswith("alignment_mask"):
        return blocked_mask(config.window + config.previous, config.attention_window)
    return blur_kernel() * (4.0 if key.startswith("motion_autoencoder.dec.") else 1.0)


def save(model: nn.Module, path: Path, metadata: Metadata, dtype: torch.dtype = torch.float32) -> None:
    """Writes a model as safetensors with metadata, whole or not at all; half-precision `dtype`s save room."""
    state = {
        key: value.detach().cpu().to(dtype if value.is_floating_point() else value.dtype).contiguous()
        for key, value in model.state_dict().items()
    }
    write_safetensors(Path(path), state, metadata.to_strings())


def convert(
    source: Path,
    target: Path,
    speech: Path | None = None,
    emotion: Path | None = None,
    config: FloatConfig | None = None,
) -> Metadata:
    """Checks official weights and writes them as one safetensors file with all entries and metadata.

    Args:
        source, speech, emotion, config: as in `load`.
        target: the `.safetensors` file to write.

    Returns:
        The metadata written: the SHA-256 of `source` and of the folders' files, the licence, the configuration.
    """
    found = read_metadata(source)
    config = config or found.config
    state = complete(read_state(source, speech, emotion), config, str(source))
    folders = [_weights_in(folder) for folder in (speech, emotion) if folder is not None]
    hashes = "+".join(file_sha256(file) for file in (Path(source), *folders))
    metadata = Metadata(config, hashes, found.licence, found.notes)
    write_safetensors(Path(target), {k: value.contiguous() for k, value in state.items()}, metadata.to_strings())
    return metadata


def export_official(model: FloatModel, path: Path, speech: bool = False) -> None:
    """Writes a `.pth` of the release's form: a flat state dict without wrapper.

    Args:
        model: a `float-512` model.
        path: to write.
        speech: include the two frozen speech networks; the release keeps them in folders of their own.
    """
    state = {k: v for k, v in model.state_dict().items() if speech or not k.startswith((AUDIO_PREFIX, EMOTION_PREFIX))}
    with atomic_path(Path(path)) as partial:
        torch.save(state, partial)


def fabricate(path: Path, seed: int) -> None:
    """Writes a `float.pth` of seeded random weights: every official entry but the speech networks'."""
    state = _fabricated(seed, lambda key: not key.startswith((AUDIO_PREFIX, EMOTION_PREFIX)))
    with atomic_path(Path(path)) as partial:
        torch.save(state, partial)


def fabricate_speech(path: Path, seed: int) -> None:
    """Writes a folder like wav2vec2-base-960h's with seeded random weights, its letter classifier included."""
    state = _fabricated(seed, lambda key: key.startswith(AUDIO_PREFIX) and not key.endswith(UNREAD))
    renamed = {"wav2vec2." + key.removeprefix(AUDIO_PREFIX): value for key, value in state.items()}
    renamed |= {key: entry(key, shape, seed) for key, shape in zip(LETTERS, ((32, BASE.width), (32,)), strict=True)}
    write_safetensors(Path(path) / "model.safetensors", renamed)
    _write_speech_configs(Path(path), "Wav2Vec2ForCTC")


def fabricate_emotion(path: Path, seed: int) -> None:
    """Writes a folder like the emotion recogniser's with seeded random weights."""
    state = _fabricated(seed, lambda key: key.startswith(EMOTION_PREFIX))
    with atomic_path(Path(path) / "pytorch_model.bin") as partial:
        torch.save({key.removeprefix(EMOTION_PREFIX): value for key, value in state.items()}, partial)
    _write_speech_configs(Path(path), "Wav2Vec2ForSpeechClassification")


def _write_speech_configs(folder: Path, architecture: str) -> None:
    write_json(folder / "config.json", {"architectures": [architecture], "model_type": "wav2vec2"})
    write_json(folder / "preprocessor_config.json", {"do_normalize": True, "sampling_rate": 16_000})


def _fabricated(seed: int, chosen: Callable[[str], bool]) -> State:
    with torch.device("meta"):
        expected = FloatModel(FLOAT_512).state_dict()
    state = {}
    for key, value in expected.items():
        if not chosen(key):
            continue
        if _is_constant(key):
            state[key] = _constant(key, FLOAT_512)
        elif key == "fmt.pos_embed":
            state[key] = position_table(value.shape[1], value.shape[2])
        else:
            state[key] = entry(key, tuple(value.shape), seed)
    return state
