"""Runs the official FLOAT release (deepbrainai-research/float, commit 97cfdd51) as a black box on given tensors.

It calls the release's public classes only and must be started with a checkout of that commit as the working folder and
on PYTHONPATH, in an environment with transformers 4.30 to 4.57:

    python official_float.py STAGE weights.safetensors inputs.safetensors outputs.safetensors

Tensors in, tensors out; nothing of the release is kept in this repository.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = dict[str, Tensor]
OPTIONS = {
    "fps": 25.0, "sampling_rate": 16000, "wav2vec_sec": 2.0, "num_prev_frames": 10, "attention_window": 2,
    "dim_w": 512, "dim_a": 512, "dim_h": 1024, "dim_m": 20, "dim_e": 7, "style_dim": 512, "input_size": 512,
    "fmt_depth": 8, "num_heads": 8, "mlp_ratio": 4.0, "no_learned_pe": False, "only_last_features": False,
    "audio_dropout_prob": 0.1, "ref_dropout_prob": 0.1, "emotion_dropout_prob": 0.1, "rank": "cpu",
}  # fmt: skip


def load(module: torch.nn.Module, weights: Tensors, prefix: str) -> torch.nn.Module:
    """Loads every entry of `module` that has the prefix; anything missing is an error."""
    module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}, strict=True)
    return module.eval()


def autoencoder(weights: Tensors, inputs: Tensors) -> Tensors:
    from models.float.generator import Generator

    size = inputs["source"].shape[-1]
    net = load(Generator(size=size, style_dim=512, motion_dim=20), weights, "motion_autoencoder.")
    latent, _, features = net.enc(inputs["source"], input_target=None)
    coefficients = net.enc.fc(latent)
    driven = net.enc.fc(net.enc(inputs["driving"], input_target=None)[0])
    start = net.enc.fc(net.enc(inputs["start"], input_target=None)[0])
    out = {"latent": latent, "coefficients": coefficients, "motion": net.dec.direction(coefficients)}
    out |= {f"feature{i}": f for i, f in enumerate(features)}
    out["basis"] = net.dec.direction(None)
    out["picture"], out["flow"] = net.dec(latent + inputs["motion"], alpha=None, feats=features)
    out["absolute"] = net.dec(latent, [driven], features)[0]
    out["relative"] = net.dec(latent, [driven, coefficients, start], features)[0]
    return out


def fmt(weights: Tensors, inputs: Tensors) -> Tensors:
    from models.float.FMT import FlowMatchingTransformer

    sizes = {name: int(inputs[name]) for name in ("dim_w", "dim_a", "dim_h", "fmt_depth") if name in inputs}
    net = load(FlowMatchingTransformer(Namespace(**(OPTIONS | sizes))), weights, "fmt.")
    names = ("t", "x", "wa", "wr", "we", "prev_x", "prev_wa")
    arguments = {name: inputs[name] for name in names}
    out = {"field": net(**{k: v.clone() for k, v in arguments.items()}, train=False)}
    for audio, emotion in ((1.0, 1.0), (2.0, 1.0), (3.0, 3.0), (1.0, 5.0)):
        scales = {"a_cfg_scale": audio, "e_cfg_scale": emotion, "r_cfg_scale": 1.0}
        guided = arguments | {"t": arguments["t"][:1]}  # the release guides one time at a time
        field = net.forward_with_cfv(**{k: v.clone() for k, v in guided.items()}, train=False, **scales)
        out[f"guided_{audio:g}_{emotion:g}"] = field
    return out


def audio(weights: Tensors, inputs: Tensors) -> Tensors:
    from models.float.FLOAT import AudioEncoder
    from models.wav2vec2 import Wav2VecModel
    from transformers import Wav2Vec2Config

    config = Wav2Vec2Config(attn_implementation="eager")
    Wav2VecModel.from_pretrained = classmethod(lambda cls, *a, **k: cls(config))
    net = load_speech(AudioEncoder(Namespace(**OPTIONS, wav2vec_model_path="")), weights, "audio_encoder.")
    whole = net.inference(inputs["wave"].clone(), seq_len=int(inputs["frames"]))
    return {"whole": whole, "training": net(inputs["clip"].clone(), inputs["prev_clip"].clone())}


def emotion(weights: Tensors, inputs: Tensors) -> Tensors:
    from models.float.FLOAT import Audio2Emotion
    from models.wav2vec2_ser import Wav2Vec2ForSpeechClassification as Classifier
    from transformers import Wav2Vec2Config

    config = Wav2Vec2Config(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, num_labels=7,
        do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True, final_dropout=0.0,
        attn_implementation="eager",
    )  # fmt: skip
    config.pooling_mode = "mean"
    Classifier.from_pretrained = classmethod(lambda cls, *a, **k: cls(config))
    net = load_speech(Audio2Emotion(Namespace(**OPTIONS, audio2emotion_path="")), weights, "emotion_encoder.")
    return {"emotion": net.predict_emotion(inputs["wave"])}


def load_speech(module: torch.nn.Module, weights: Tensors, prefix: str) -> torch.nn.Module:
    """As `load`, with the weight norm spelled as torch >= 2.1 spells it."""
    spelling = {
        "conv.weight_g": "conv.parametrizations.weight.original0",
        "conv.weight_v": "conv.parametrizations.weight.original1",
    }
    renamed = {}
    for key, value in weights.items():
        for old, new in spelling.items():
            key = key.replace(old, new)
        renamed[key] = value
    return load(module, renamed, prefix)


def normalise(weights: Tensors, inputs: Tensors) -> Tensors:
    from transformers import Wav2Vec2FeatureExtractor

    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000, do_normalize=True)
    values = extractor(inputs["wave"][0].numpy(), sampling_rate=16000, return_tensors="pt").input_values
    return {"wave": values.reshape(1, -1)}


def clock(weights: Tensors, inputs: Tensors) -> Tensors:
    """CPU seconds of one decoded frame and one guided step, minimum of the repeats."""
    from models.float.FMT import FlowMatchingTransformer
    from models.float.generator import Generator

    generator = Generator(size=inputs["source"].shape[-1], style_dim=512, motion_dim=20)
    net = load(generator, weights, "motion_autoencoder.")
    latent, _, features = net.enc(inputs["source"], input_target=None)
    field = load(FlowMatchingTransformer(Namespace(**OPTIONS)), weights, "fmt.")
    arguments = {name: inputs[name] for name in ("t", "x", "wa", "wr", "we", "prev_x", "prev_wa")}
    scales = {"a_cfg_scale": 2.0, "e_cfg_scale": 1.0, "r_cfg_scale": 1.0}

    def seconds(call, repeats: int) -> Tensor:
        spent = []
        for _ in range(repeats):
            before = time.process_time()
            call()
            spent.append(time.process_time() - before)
        return torch.tensor(min(spent))

    return {
        "decode": seconds(lambda: net.dec(latent, alpha=None, feats=features), int(inputs["repeats"])),
        "encode": seconds(lambda: net.enc(inputs["source"], input_target=None), 2),
        "step": seconds(lambda: field.forward_with_cfv(**arguments, train=False, **scales), int(inputs["repeats"])),
    }


def main() -> None:
    stage, weights, inputs, outputs = sys.argv[1:5]
    stages = {f.__name__: f for f in (autoencoder, fmt, audio, emotion, normalise, clock)}
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # the release's grids name the GPU
    with torch.no_grad():
        made = stages[stage](load_file(weights), load_file(inputs))
    save_file({k: v.detach().contiguous().clone() for k, v in made.items()}, Path(outputs))


if __name__ == "__main__":
    main()
