"""Writes IMTalker's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N`. `tiny` has
the official renderer and flow network, whose sizes the code fixes, and a speech network of one layer. Nothing made
from these files is a result.
"""

import argparse
import os
import sys

import driverlib

SPEECH = "checkpoints/wav2vec2-base-960h"


def speech_network(folder, size):
    """wav2vec2-base's files as transformers writes them."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    layers = 12 if size == "full" else 1
    Wav2Vec2ForCTC(Wav2Vec2Config(num_hidden_layers=layers, vocab_size=32)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("weights")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    weights, checkout = os.path.abspath(args.weights), os.path.abspath(args.checkout)
    sys.path[:0] = [checkout, os.path.join(checkout, "generator")]
    import shims
    import torch

    torch.manual_seed(args.seed)
    speech_network(os.path.join(weights, SPEECH), args.size)
    shims.apply(("eager_attention", "no_face_detector"))
    import generate
    from generator.FM import FMGenerator
    from renderer.models import IMTRenderer

    os.chdir(weights)
    sys.argv = ["generate.py"]
    opt = generate.InferenceOptions().parse()
    opt.rank = "cpu"
    renderer, flow = IMTRenderer(opt), FMGenerator(opt)
    torch.save(
        {"state_dict": {"gen." + name: v for name, v in renderer.state_dict().items()}}, "checkpoints/renderer.ckpt"
    )
    torch.save(
        {"state_dict": {"model." + name: v for name, v in flow.state_dict().items()}}, "checkpoints/generator.ckpt"
    )
    driverlib.write_marker(weights, system="imtalker", size=args.size, seed=args.seed)


if __name__ == "__main__":
    main()
