"""Writes LatentSync's weight files with seeded random numbers, from the classes of the official checkout.

Run it with the interpreter of the system's environment::

    python fabricate.py CHECKOUT WEIGHTS_DIR --size tiny --seed 0

`full` has the published shapes. `tiny` has a denoiser 64 wide with one layer a block and a small image auto-encoder,
for faces of 128 pixels and two steps; the speech network (Whisper "tiny") has one size. insightface's networks come as
finished ONNX files: empty ones stand in their places, and the driver puts the face in the middle.
"""

import argparse
import sys
from pathlib import Path

import driverlib

CHECKPOINTS, VAE_FOLDER = Path("checkpoints"), Path("stabilityai/sd-vae-ft-mse")
FACES = CHECKPOINTS / "auxiliary" / "models" / "buffalo_l"
VAE = {"latent_channels": 4, "sample_size": 256, "down_block_types": ("DownEncoderBlock2D",) * 4}
VAE.update(up_block_types=("UpDecoderBlock2D",) * 4)
VAE_SHAPE = {"full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}}
VAE_SHAPE["tiny"] = {"block_out_channels": (32,) * 4, "layers_per_block": 1}
SMALL_UNET = {"block_out_channels": [64] * 4, "layers_per_block": 1}
OPTIONS = {"full": {}}
OPTIONS["tiny"] = {"model": SMALL_UNET, "data": {"resolution": 128}, "flags": {"inference_steps": 2}}
WHISPER = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4}
WHISPER.update(n_vocab=51865, n_text_ctx=448, n_text_state=384, n_text_head=6, n_text_layer=4)


def stir(network):
    """Gives every entry that starts at zero (first, last and gate layers) small numbers, so that all inputs count."""
    import torch

    with torch.no_grad():
        for value in network.parameters():
            if not value.any():
                value.normal_(0.0, 0.02)
    return network


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    checkout, weights = args.checkout.resolve(), args.weights.resolve()
    sys.path.insert(0, str(checkout))
    import torch
    from diffusers import AutoencoderKL
    from latentsync.models.unet import UNet3DConditionModel
    from latentsync.whisper.whisper.model import ModelDimensions, Whisper
    from omegaconf import OmegaConf

    torch.manual_seed(args.seed)
    for folder in (CHECKPOINTS / "whisper", FACES, VAE_FOLDER):
        (weights / folder).mkdir(parents=True, exist_ok=True)
    config = OmegaConf.merge(OmegaConf.load(checkout / "configs/unet/stage2_512.yaml"), OPTIONS[args.size])
    unet = stir(UNet3DConditionModel.from_config(OmegaConf.to_container(config.model)))
    torch.save({"global_step": 0, "state_dict": unet.state_dict()}, weights / CHECKPOINTS / "latentsync_unet.pt")
    speech = stir(Whisper(ModelDimensions(**WHISPER)))
    torch.save(
        {"dims": WHISPER, "model_state_dict": speech.state_dict()}, weights / CHECKPOINTS / "whisper" / "tiny.pt"
    )
    AutoencoderKL(**VAE, **VAE_SHAPE[args.size]).save_pretrained(weights / VAE_FOLDER)
    for name in ("det_10g", "2d106det"):
        (weights / FACES / (name + ".onnx")).touch()
    driverlib.write_marker(
        str(weights), system="latentsync", size=args.size, seed=args.seed, options=OPTIONS[args.size]
    )


if __name__ == "__main__":
    main()
