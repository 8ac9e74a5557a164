"""Writes Ditto's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N --landmarks
FILE`. `tiny` has the official renderer and motion generator, whose sizes the code fixes, and a speech network of one
layer. The speech network comes as an ONNX file and is written as one, from HuBERT-large of transformers. MediaPipe's
file cannot be made: it is copied from the one that is named. The other detectors, finished ONNX files, stay empty: the
driver passes them over. Nothing made from these files is a result.
"""

import argparse
import os
import pickle
import shutil
import sys
from pathlib import Path

import driverlib

SAMPLES = 6480  # of one chunk of sound: ten frames and 80
NETWORKS = {
    "appearance_extractor": "AppearanceFeatureExtractor",
    "motion_extractor": "MotionExtractor",
    "warp_network": "WarpingNetwork",
    "decoder": "SPADEDecoder",
}
DETECTORS = {
    "insightface_det_cfg": "det_10g.onnx",
    "landmark106_cfg": "2d106det.onnx",
    "landmark203_cfg": "landmark203.onnx",
}
MOTION = {"motion_feat_dim": 265, "audio_feat_dim": 1103, "seq_frames": 80}


def settings():
    """The published settings of the PyTorch models, as far as the code reads them."""
    parts = {name: {"model_path": "aux_models/" + file, "force_ori_type": True} for name, file in DETECTORS.items()}
    parts["hubert_cfg"] = {"model_path": "aux_models/hubert_streaming_fix_kv.onnx", "force_ori_type": True}
    parts["landmark478_cfg"] = {"task_path": "aux_models/face_landmarker.task", "force_ori_type": True}
    for name in (*NETWORKS, "stitch_network"):
        parts[name + "_cfg"] = {"model_path": "models/%s.pth" % name, "device": "cuda"}
    motion = dict(MOTION, model_path="models/lmdm_v0.4_hubert.pth", device="cuda", w2f_type="hubert")
    motion.update(use_emo=True, use_sc=True, use_eye_open=True, use_eye_ball=True)
    return {"base_cfg": parts, "audio2motion_cfg": motion, "default_kwargs": {"online_mode": False}}


def speech_network(path, size):
    """HuBERT-large as one ONNX graph: (1, 6480) samples at 16 kHz -> (20, 1024) features."""
    import torch
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        hidden_size=1024, num_hidden_layers=24 if size == "full" else 1, num_attention_heads=16, intermediate_size=4096,
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True, attn_implementation="eager",
    )  # fmt: skip

    class Speech(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = HubertModel(config).eval()
            torch.nn.utils.parametrize.remove_parametrizations(self.network.encoder.pos_conv_embed.conv, "weight")

        def forward(self, sound):
            return self.network(sound).last_hidden_state[0]

    torch.onnx.export(
        Speech(), (torch.zeros(1, SAMPLES),), str(path), input_names=["input_values"], output_names=["encoding_out"],
        opset_version=17, dynamo=False,
    )  # fmt: skip


def networks(root):
    """LivePortrait's five networks and the motion generator, as the official classes load them."""
    import torch
    from core.models import modules

    for name, network in NETWORKS.items():
        torch.save(getattr(modules, network)().state_dict(), root / (name + ".pth"))
    torch.save({"retarget_shoulder": modules.StitchingNetwork().state_dict()}, root / "stitch_network.pth")
    motion = modules.LMDM(device="cpu", **MOTION)
    torch.save({"model_state_dict": motion.model.state_dict()}, root / "lmdm_v0.4_hubert.pth")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("weights")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--landmarks", default=os.environ.get("FLOATBENCH_FACE_LANDMARKER", ""))
    args = parser.parse_args()
    if not os.path.isfile(args.landmarks):
        parser.error("name MediaPipe's face_landmarker .task file with --landmarks or FLOATBENCH_FACE_LANDMARKER")
    sys.path.insert(0, os.path.abspath(args.checkout))
    root = Path(args.weights).absolute() / "checkpoints"
    for folder in ("ditto_cfg", "ditto_pytorch/models", "ditto_pytorch/aux_models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    import torch

    torch.manual_seed(args.seed)
    networks(root / "ditto_pytorch" / "models")
    detectors = root / "ditto_pytorch" / "aux_models"
    speech_network(detectors / "hubert_streaming_fix_kv.onnx", args.size)
    shutil.copyfile(args.landmarks, detectors / "face_landmarker.task")
    for name in DETECTORS.values():
        (detectors / name).touch()
    with open(root / "ditto_cfg" / "v0.4_hubert_cfg_pytorch.pkl", "wb") as stream:
        pickle.dump(settings(), stream)
    driverlib.write_marker(args.weights, system="ditto", size=args.size, seed=args.seed)


if __name__ == "__main__":
    main()
