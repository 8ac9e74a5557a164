"""Writes Hallo's weight files with seeded random numbers, from the classes of the official checkout.

Run it with the interpreter of the system's environment::

    python fabricate.py CHECKOUT WEIGHTS_DIR --size tiny --seed 0 --landmarks face_landmarker_v2_with_blendshapes.task

`full` has the published shapes (2.6 G parameters, about 16 GB). `tiny` has UNets 320 wide with one layer a block, for
64 pixels and two steps. MediaPipe's file cannot be made: `--landmarks` or FLOATBENCH_FACE_LANDMARKER names it. Vocal
separator and insightface come as finished ONNX files; empty ones stand in their places and the driver does without.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

MODELS = Path("pretrained_models")
FACE = MODELS / "face_analysis" / "models"
ONNX = ("1k3d68", "2d106det", "genderage", "glintr100", "scrfd_10g_bnkps")
UNET = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8, "norm_eps": 1e-5}
SMALL_UNET = {"block_out_channels": (320,) * 4, "layers_per_block": 1}
VAE = {"latent_channels": 4, "sample_size": 256, "down_block_types": ("DownEncoderBlock2D",) * 4}
VAE.update(up_block_types=("UpDecoderBlock2D",) * 4)
VAE_SHAPE = {"full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}}
VAE_SHAPE["tiny"] = {"block_out_channels": (32,) * 4, "layers_per_block": 1}
SMALL_SPEECH = {"intermediate_size": 64, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16}
OPTIONS = {"full": {}, "tiny": {"size": 64, "inference_steps": 2}}


def stir(network):
    """Gives every entry that starts at zero (output and gate layers) small numbers, so that all inputs count."""
    import torch

    with torch.no_grad():
        for value in network.parameters():
            if not value.any():
                value.normal_(0.0, 0.02)
    return network


def published_names(state):
    """The speech network's entries under the names of the published file; torch 2 has others for weight norms."""
    new = ".parametrizations.weight.original"
    return {name.replace(new + "0", ".weight_g").replace(new + "1", ".weight_v"): v for name, v in state.items()}


def complete_config(path):
    """Writes entries of Stable Diffusion's config.json that the picture UNet does not save and the denoiser reads."""
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "center_input_sample": False, "out_channels": 4}, indent=2) + "\n")


def write_base(weights, size):
    """Image auto-encoder, picture UNet and speech network, in the folders that `from_pretrained` opens."""
    from diffusers import AutoencoderKL
    from hallo.models.unet_2d_condition import UNet2DConditionModel
    from hallo.models.wav2vec import Wav2VecModel
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

    AutoencoderKL(**VAE, **VAE_SHAPE[size]).save_pretrained(weights / MODELS / "sd-vae-ft-mse")
    unet = UNet2DConditionModel(**UNET, **(SMALL_UNET if size == "tiny" else {}))
    unet.save_pretrained(weights / MODELS / "stable-diffusion-v1-5" / "unet")
    complete_config(weights / MODELS / "stable-diffusion-v1-5" / "unet" / "config.json")
    speech = weights / MODELS / "wav2vec" / "wav2vec2-base-960h"
    network = Wav2VecModel(Wav2Vec2Config(**(SMALL_SPEECH if size == "tiny" else {})))
    network.save_pretrained(speech, state_dict=published_names(network.state_dict()))
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(speech)


def write_hallo(checkout, weights):
    """net.pth with all five parts and the motion module's own file. Returns the parameters of net.pth."""
    import driver
    import shims
    import torch
    from omegaconf import OmegaConf

    script = shims.open_script(str(checkout / "scripts" / "inference.py"))
    config = OmegaConf.load(checkout / driver.CONFIG)
    base = weights / MODELS / "stable-diffusion-v1-5"
    denoiser = script.UNet3DConditionModel.from_pretrained_2d(
        base,
        "",
        subfolder="unet",
        unet_additional_kwargs=OmegaConf.to_container(config.unet_additional_kwargs),
        use_landmark=False,
    )
    width = denoiser.config.cross_attention_dim
    net = script.Net(
        script.UNet2DConditionModel.from_pretrained(base, subfolder="unet"),
        denoiser,
        script.FaceLocator(conditioning_embedding_channels=320),
        script.ImageProjModel(cross_attention_dim=width, clip_embeddings_dim=512, clip_extra_context_tokens=4),
        script.AudioProjModel(
            seq_len=5, blocks=12, channels=768, intermediate_dim=512, output_dim=768, context_tokens=32
        ),
    )
    stir(net)
    (weights / MODELS / "hallo").mkdir(parents=True, exist_ok=True)
    (weights / MODELS / "motion_module").mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), weights / MODELS / "hallo" / "net.pth")
    motion = {name: value for name, value in denoiser.state_dict().items() if "motion_modules" in name}
    torch.save(motion, weights / MODELS / "motion_module" / "mm_sd_v15_v2.ckpt")
    return {name: sum(value.numel() for value in part.parameters()) for name, part in net.get_modules().items()}


def write_finished_files(weights, landmarks):
    """MediaPipe's file as it is, and empty files where finished ONNX networks belong."""
    (weights / FACE).mkdir(parents=True, exist_ok=True)
    (weights / MODELS / "audio_separator").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(landmarks, weights / FACE / "face_landmarker_v2_with_blendshapes.task")
    for path in [FACE / (name + ".onnx") for name in ONNX] + [MODELS / "audio_separator" / "Kim_Vocal_2.onnx"]:
        (weights / path).touch()


def main():
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description="Write Hallo's weight files with seeded random numbers.")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--landmarks", default=os.environ.get("FLOATBENCH_FACE_LANDMARKER", ""))
    arguments = parser.parse_args()
    if not os.path.isfile(arguments.landmarks):
        parser.error("name MediaPipe's face_landmarker .task file with --landmarks or FLOATBENCH_FACE_LANDMARKER")
    checkout, weights = arguments.checkout.resolve(), arguments.weights.resolve()
    sys.path.insert(0, str(checkout))
    import shims

    shims.no_xformers()
    import torch

    torch.manual_seed(arguments.seed)
    write_base(weights, arguments.size)
    parameters = write_hallo(checkout, weights)
    write_finished_files(weights, arguments.landmarks)
    files = {str(p.relative_to(weights)): p.stat().st_size for p in sorted(weights.rglob("*.*")) if p.is_file()}
    record = {"system": "hallo", "size": arguments.size, "seed": arguments.seed, "options": OPTIONS[arguments.size]}
    record.update(parameters=parameters, files=files)
    (weights / "FABRICATED.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
