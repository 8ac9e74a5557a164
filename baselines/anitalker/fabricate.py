"""Writes AniTalker's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full --seed 0`. `tiny` narrows the
feed-forward layers and the convolutions of HuBERT, whose shape is read from its config.json; the two networks of the
repository have one size only. Nothing made from these files is a result: FABRICATED.json says so.
"""

import argparse
import json
import site
from pathlib import Path

HUBERT = {  # the shape of chinese-hubert-large
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_dim": [512] * 7,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "feat_proj_layer_norm": True,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
}
NARROW = {"intermediate_size": 256, "conv_dim": [32] * 7}
EXTRACTOR = {
    "do_normalize": True,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}


def stage1():
    """The renderer's tensors."""
    from LIA_Model import LIA_Model

    return LIA_Model(motion_dim=20, fusion_type="weighted_sum")


def stage2(seed):
    """The motion predictor and its running mean, as `hubert_audio_only` builds them."""
    from experiment import LitModel
    from templates import ffhq256_autoenc

    conf = ffhq256_autoenc()
    conf.seed, conf.decoder_layers, conf.motion_dim = seed, 2, 20
    conf.infer_type = "hubert_audio_only"
    conf.face_location = conf.face_scale = conf.mfcc = False
    return LitModel(conf)


def hubert(folder, size):
    """HuBERT with its two json files; positional weights under their long-standing names, which every version reads."""
    from transformers import HubertConfig, HubertModel

    shape = dict(HUBERT, **(NARROW if size == "tiny" else {}))
    network = HubertModel(HubertConfig(**shape))
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(shape, architectures=["HubertModel"], model_type="hubert")
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR, indent=1))
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in network.state_dict().items()
    }
    return network, renamed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    site.addsitedir(str(args.checkout.resolve() / "code"))

    import torch

    torch.manual_seed(args.seed)
    ckpts = args.weights / "ckpts"
    ckpts.mkdir(parents=True, exist_ok=True)
    speech, tensors = hubert(ckpts / "chinese-hubert-large", args.size)
    first = stage1()
    second = stage2(args.seed)  # seeds the process itself, so it is built last
    states = {
        "ckpts/stage1.ckpt": (first, first.state_dict()),
        "ckpts/stage2_audio_only_hubert.ckpt": (second, second.state_dict()),
        "ckpts/chinese-hubert-large/pytorch_model.bin": (speech, tensors),
    }
    files = {}
    for name, (network, state) in states.items():
        torch.save(dict(state), str(args.weights / name))
        files[name] = {
            "bytes": (args.weights / name).stat().st_size,
            "parameters": sum(p.numel() for p in network.parameters()),
        }
    marker = {"system": "anitalker", "size": args.size, "seed": args.seed, "files": files}
    (args.weights / "FABRICATED.json").write_text(json.dumps(marker, indent=1))
    print(json.dumps(marker))


if __name__ == "__main__":
    main()
