"""Writes EchoMimic's weight files with seeded random numbers, from the classes of the official checkout.

Run it with the interpreter of the system's environment::

    python fabricate.py CHECKOUT WEIGHTS_DIR --size tiny --seed 0

`full` has the published shapes (2.2 G parameters, about 13 GB). `tiny` has UNets 320 wide with one layer a block, for
64 pixels and two steps. The face detector's weights lie inside the facenet-pytorch wheel.
"""

import argparse
import json
import sys
from pathlib import Path

WEIGHTS = Path("pretrained_weights")
BASE = WEIGHTS / "sd-image-variations-diffusers"
UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8, "norm_eps": 1e-5}
SMALL_UNET = {"block_out_channels": (320,) * 4, "layers_per_block": 1}
VAE = {"latent_channels": 4, "sample_size": 256, "down_block_types": ("DownEncoderBlock2D",) * 4}
VAE.update(up_block_types=("UpDecoderBlock2D",) * 4)
VAE_SHAPE = {"full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}}
VAE_SHAPE["tiny"] = {"block_out_channels": (32,) * 4, "layers_per_block": 1}
# Whisper "tiny": its five encoder states of 384 are what the denoiser's attention expects.
WHISPER = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4}
WHISPER.update(n_vocab=51865, n_text_ctx=448, n_text_state=384, n_text_head=6, n_text_layer=4)
OPTIONS = {"full": {}, "tiny": {"W": 64, "H": 64, "steps": 2}}


def stir(network):
    """Gives every entry that starts at zero (output and gate layers) small numbers, so that all inputs count."""
    import torch

    with torch.no_grad():
        for value in network.parameters():
            if not value.any():
                value.normal_(0.0, 0.02)
    return network


def write_base(weights, size):
    """Image auto-encoder and picture UNet, in the folders that `from_pretrained` opens, and the reference UNet."""
    import torch
    from diffusers import AutoencoderKL
    from src.models.unet_2d_condition import UNet2DConditionModel

    AutoencoderKL(**VAE, **VAE_SHAPE[size]).save_pretrained(weights / WEIGHTS / "sd-vae-ft-mse")
    unet = UNet2DConditionModel(**UNET, **(SMALL_UNET if size == "tiny" else {}))
    unet.save_pretrained(weights / BASE / "unet")
    torch.save(stir(unet).state_dict(), weights / WEIGHTS / "reference_unet.pth")
    return {"reference_unet": sum(value.numel() for value in unet.parameters())}


def write_denoiser(checkout, weights):
    """denoising_unet.pth, motion_module.pth and face_locator.pth. Returns their parameters."""
    import torch
    from omegaconf import OmegaConf
    from src.models.face_locator import FaceLocator
    from src.models.unet_3d_echo import EchoUNet3DConditionModel

    config = OmegaConf.load(checkout / "configs" / "inference" / "inference_v2.yaml")
    settings = config.unet_additional_kwargs
    denoiser = EchoUNet3DConditionModel.from_pretrained_2d(
        weights / BASE, "", subfolder="unet", unet_additional_kwargs=settings
    )
    locator = FaceLocator(320, conditioning_channels=1, block_out_channels=(16, 32, 96, 256))
    state = stir(denoiser).state_dict()
    torch.save(state, weights / WEIGHTS / "denoising_unet.pth")
    motion = {name: value for name, value in state.items() if "motion_modules" in name}
    torch.save(motion, weights / WEIGHTS / "motion_module.pth")
    torch.save(stir(locator).state_dict(), weights / WEIGHTS / "face_locator.pth")
    parts = {"denoising_unet": denoiser, "face_locator": locator}
    return {name: sum(value.numel() for value in part.parameters()) for name, part in parts.items()}


def write_whisper(weights):
    """whisper_tiny.pt: the dimensions and the state, as published. Returns its parameters."""
    import torch
    from src.models.whisper.whisper.model import ModelDimensions, Whisper

    model = stir(Whisper(ModelDimensions(**WHISPER)))
    folder = weights / WEIGHTS / "audio_processor"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": WHISPER, "model_state_dict": model.state_dict()}, folder / "whisper_tiny.pt")
    return {"whisper": sum(value.numel() for value in model.parameters())}


def main():
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description="Write EchoMimic's weight files with seeded random numbers.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    checkout, weights = arguments.checkout.resolve(), arguments.weights.resolve()
    sys.path.insert(0, str(checkout))
    import torch

    torch.manual_seed(arguments.seed)
    (weights / WEIGHTS).mkdir(parents=True, exist_ok=True)
    parameters = {**write_base(weights, arguments.size), **write_denoiser(checkout, weights), **write_whisper(weights)}
    files = {str(p.relative_to(weights)): p.stat().st_size for p in sorted(weights.rglob("*.*")) if p.is_file()}
    record = {"system": "echomimic", "size": arguments.size, "seed": arguments.seed}
    record.update(options=OPTIONS[arguments.size], parameters=parameters, files=files)
    (weights / "FABRICATED.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
