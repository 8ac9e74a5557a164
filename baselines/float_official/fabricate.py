"""Writes FLOAT's weight files with seeded random numbers, from the classes of the official checkout.

Run it with the interpreter of the system's environment::

    python fabricate.py CHECKOUT WEIGHTS_DIR --size full --seed 0

`full` has the published shapes (float.pth with 206.6 M parameters, two speech networks beside it). `tiny` keeps what
the code fixes (512-wide latents, twelve speech layers of width 768) and shrinks the rest; options that the networks
were built with are kept in FABRICATED.json, from where the driver takes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

SPEECH = "checkpoints/wav2vec2-base-960h"
EMOTION = "checkpoints/wav2vec-english-speech-emotion-recognition"
WEIGHTS = "checkpoints/float.pth"
SMALL_SPEECH = {"intermediate_size": 64, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16}
SMALL_EMOTION = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, **SMALL_SPEECH}
TINY_OPTIONS = {"input_size": 64, "fmt_depth": 1}
LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def speech_config(size: str) -> Any:
    """The configuration of wav2vec2-base-960h, or of a small network that FLOAT accepts in its place."""
    from transformers import Wav2Vec2Config

    return Wav2Vec2Config(attn_implementation="eager", **(SMALL_SPEECH if size == "tiny" else {}))


def emotion_config(size: str) -> Any:
    """The configuration of the published emotion recogniser (24 layers of width 1024, seven classes)."""
    from transformers import Wav2Vec2Config

    shape = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    config = Wav2Vec2Config(
        attn_implementation="eager",
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        conv_bias=True,
        num_labels=len(LABELS),
        final_dropout=0.0,
        **(SMALL_EMOTION if size == "tiny" else shape),
    )
    config.pooling_mode = "mean"
    return config


def published_names(state: dict[str, Any]) -> dict[str, Any]:
    """A speech network's entries under the names of the published files; torch 2 has others for weight norms."""
    new = ".parametrizations.weight.original"
    return {name.replace(f"{new}0", ".weight_g").replace(f"{new}1", ".weight_v"): v for name, v in state.items()}


def write_speech_networks(weights: Path, size: str) -> None:
    """Saves the two speech networks as the folders that FLOAT opens with `from_pretrained`."""
    from models.wav2vec2 import Wav2VecModel
    from models.wav2vec2_ser import Wav2Vec2ForSpeechClassification
    from transformers import Wav2Vec2FeatureExtractor

    for folder, network, safetensors in (
        (SPEECH, Wav2VecModel(speech_config(size)), True),
        (EMOTION, Wav2Vec2ForSpeechClassification(emotion_config(size)), False),
    ):
        state = published_names(network.state_dict())
        network.save_pretrained(weights / folder, state_dict=state, safe_serialization=safetensors)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(weights / folder)


def float_options(weights: Path, changed: dict[str, Any]) -> Any:
    """FLOAT's own options at their defaults, but for the folders of the speech networks and `changed`."""
    from options.base_options import BaseOptions

    parser = BaseOptions().initialize(argparse.ArgumentParser())
    options = parser.parse_args([])
    options.wav2vec_model_path, options.audio2emotion_path = str(weights / SPEECH), str(weights / EMOTION)
    options.rank = "cpu"
    for name, value in changed.items():
        setattr(options, name, value)
    return options


def write_float(weights: Path, changed: dict[str, Any]) -> int:
    """Saves float.pth: every entry but the speech networks', as published. Returns all parameters of FLOAT."""
    import torch
    from models.float.FLOAT import FLOAT

    model = FLOAT(float_options(weights, changed))
    with torch.no_grad():
        for value in model.fmt.parameters():
            # The output layer and the gates start at zero: left so, the video would not depend on the sound.
            if not value.any():
                value.normal_(0.0, 0.02)
    state = {name: value for name, value in model.state_dict().items() if "wav2vec2" not in name}
    torch.save(state, weights / WEIGHTS)
    return sum(value.numel() for value in model.parameters())


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description="Write FLOAT's weight files with seeded random numbers.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout.resolve()))
    import torch

    torch.manual_seed(arguments.seed)
    weights = arguments.weights.resolve()
    (weights / SPEECH).mkdir(parents=True, exist_ok=True)
    changed = TINY_OPTIONS if arguments.size == "tiny" else {}
    write_speech_networks(weights, arguments.size)
    parameters = write_float(weights, changed)
    files = {
        str(file.relative_to(weights)): file.stat().st_size for file in sorted((weights / "checkpoints").rglob("*.*"))
    }
    record = {
        "system": "float-official",
        "size": arguments.size,
        "seed": arguments.seed,
        "options": changed,
        "parameters": parameters,
        "files": files,
    }
    (weights / "FABRICATED.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
