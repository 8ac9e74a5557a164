"""Writes FlashHead's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N`. `full` has
the published shapes (1.7 G parameters, 7 GB); its config.json is the published one, byte by byte. `tiny` has two of 30
blocks with narrow inner layers and a thin speech network, for 32 pixels; the auto-encoder's size is fixed by the code.
Nothing made from these files is a result.
"""

import argparse
import os
import sys

import driverlib

MODELS = "models/SoulX-FlashHead-1_3B"
SPEECH = "models/wav2vec2-base-960h"
TRANSFORMER = {"dim": 1536, "in_dim": 32, "ffn_dim": 8960, "out_dim": 16, "text_dim": 4096, "freq_dim": 256}
TRANSFORMER.update(eps=1e-6, vae_stride=(4, 8, 8), patch_size=(1, 2, 2), num_heads=12, num_layers=30)
TRANSFORMER.update(has_image_input=False)
AUTO_ENCODER = {"dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
AUTO_ENCODER.update(temperal_downsample=[False, True, True], dropout=0.0)
SMALL = {"ffn_dim": 512, "num_layers": 2, "text_dim": 64}
SMALL_SPEECH = {"intermediate_size": 64, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16}
OPTIONS = {"full": {}, "tiny": {"size": 32}}


def speech_network(folder, size):
    """wav2vec2-base's files as transformers writes them; the network hears all twelve layers, 768 wide."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    small = SMALL_SPEECH if size == "tiny" else {}
    Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=32, **small)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("weights")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    weights = os.path.abspath(args.weights)
    sys.path.insert(0, os.path.abspath(args.checkout))
    import shims
    import torch

    shims.apply(("no_xfuser",))
    from flash_head.src.modules.flash_head_model import WanModelAudioProject
    from flash_head.wan.modules.vae import WanVAE_

    torch.manual_seed(args.seed)
    speech_network(os.path.join(weights, SPEECH), args.size)
    network = WanModelAudioProject(**{**TRANSFORMER, **(SMALL if args.size == "tiny" else {})})
    network.save_pretrained(os.path.join(weights, MODELS, "Model_Pro"))
    os.makedirs(os.path.join(weights, MODELS, "VAE_Wan"), exist_ok=True)
    torch.save(WanVAE_(**AUTO_ENCODER).state_dict(), os.path.join(weights, MODELS, "VAE_Wan", "Wan2.1_VAE.pth"))
    driverlib.write_marker(
        weights, system="flashhead", size=args.size, seed=args.seed, options=OPTIONS[args.size],
    )  # fmt: skip


if __name__ == "__main__":
    main()
