"""Writes Sonic's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N`. `full` has
the published shapes (2.4 G parameters, about 11 GB). `tiny` has a small video UNet, image auto-encoder and picture
encoder, for 64 pixels and two steps; Whisper, the audio networks and RIFE have one size. The face detector comes as a
finished TorchScript file: one that answers with a face in the middle of the picture stands in its place. Nothing made
from these files is a result.
"""

import argparse
import os
import sys
from typing import List

import driverlib
import torch

SVD = "checkpoints/stable-video-diffusion-img2vid-xt"
UNET = {
    "full": {"block_out_channels": (320, 640, 1280, 1280), "num_attention_heads": (5, 10, 20, 20)},
    "tiny": {"block_out_channels": (32, 64, 64, 64), "num_attention_heads": (1, 2, 2, 2), "layers_per_block": 1},
}
VAE = {
    "full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2},
    "tiny": {"block_out_channels": (32,) * 4, "layers_per_block": 1},
}
# CLIP ViT-H: its answer has 1024 numbers in both sizes, as the audio networks expect
PICTURE = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16, "num_hidden_layers": 32}
PICTURE_SIZE = {"full": {}, "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}}
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_type": "continuous"}
SCHEDULER.update(prediction_type="v_prediction", sigma_min=0.002, sigma_max=700.0, use_karras_sigmas=True)
SCHEDULER.update(interpolation_type="linear", timestep_spacing="leading", steps_offset=1)
WHISPER = {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536}
WHISPER.update(encoder_attention_heads=6, decoder_attention_heads=6)
OPTIONS = {"full": {}, "tiny": {"min_resolution": 64, "inference_steps": 2}}


class OneFace(torch.nn.Module):
    """What the detector's file answers: boxes (1, 1, 16) as centre, size, certainty, five points, class."""

    def forward(self, picture: torch.Tensor, grids: List[torch.Tensor]) -> torch.Tensor:
        height, width = picture.shape[2], picture.shape[3]
        found = torch.ones(1, 1, 16)
        found[0, 0, :4] = torch.tensor([width * 0.5, height * 0.5, width * 0.5, height * 0.6])
        found[0, 0, 5:15] = torch.tensor([width * 0.5, height * 0.5] * 5)
        return found


def stir(network):
    """Gives every entry that starts at zero (output layers) small numbers, so that all inputs count."""
    with torch.no_grad():
        for value in network.parameters():
            if not value.any():
                value.normal_(0.0, 0.02)
    return network


def write_video_diffusion(folder, size):
    """Stable Video Diffusion's parts in the folders and names that `from_pretrained(variant="fp16")` opens."""
    from diffusers import AutoencoderKLTemporalDecoder
    from diffusers.schedulers import EulerDiscreteScheduler
    from src.models.base.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel, add_ip_adapters
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    half = {"variant": "fp16"}
    unet = stir(UNetSpatioTemporalConditionModel(**UNET[size]))
    unet.half().save_pretrained(os.path.join(folder, "unet"), **half)
    unet.float()
    add_ip_adapters(unet, [32], [1.0])  # as sonic.py does before it fills the network from unet.pth
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "latent_channels": 4, "sample_size": 768}
    vae = AutoencoderKLTemporalDecoder(**blocks, **VAE[size])
    stir(vae).half().save_pretrained(os.path.join(folder, "vae"), **half)
    shape = {**PICTURE, **PICTURE_SIZE[size]}
    clip = CLIPVisionConfig(image_size=224, patch_size=14, projection_dim=1024, hidden_act="gelu", **shape)
    CLIPVisionModelWithProjection(clip).half().save_pretrained(os.path.join(folder, "image_encoder"), **half)
    EulerDiscreteScheduler(**SCHEDULER).save_pretrained(os.path.join(folder, "scheduler"))
    return unet


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("weights")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    weights, checkout = os.path.abspath(args.weights), os.path.abspath(args.checkout)
    sys.path.insert(0, checkout)
    from src.models.audio_adapter.audio_proj import AudioProjModel
    from src.models.audio_adapter.audio_to_bucket import Audio2bucketModel
    from src.utils.RIFE.IFNet_HDv3 import IFNet
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(args.seed)
    for folder in ("Sonic", "RIFE"):
        os.makedirs(os.path.join(weights, "checkpoints", folder), exist_ok=True)
    os.chdir(weights)
    speech = "checkpoints/whisper-tiny"
    WhisperModel(WhisperConfig(**WHISPER)).save_pretrained(speech)
    WhisperFeatureExtractor().save_pretrained(speech)
    token = AudioProjModel(
        seq_len=10, blocks=5, channels=384, intermediate_dim=1024, output_dim=1024, context_tokens=32
    )
    bucket = Audio2bucketModel(
        seq_len=50, blocks=1, channels=384, clip_channels=1024, intermediate_dim=1024, output_dim=1, context_tokens=2
    )
    torch.save(write_video_diffusion(SVD, args.size).state_dict(), "checkpoints/Sonic/unet.pth")
    torch.save(token.state_dict(), "checkpoints/Sonic/audio2token.pth")
    torch.save(bucket.state_dict(), "checkpoints/Sonic/audio2bucket.pth")
    flow = {"module." + name: value for name, value in IFNet().state_dict().items()}
    torch.save(flow, "checkpoints/RIFE/flownet.pkl")
    torch.jit.script(OneFace()).save("checkpoints/yoloface_v5m.pt")
    driverlib.write_marker(weights, system="sonic", size=args.size, seed=args.seed, options=OPTIONS[args.size])


if __name__ == "__main__":
    main()
