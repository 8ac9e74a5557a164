"""Writes JoyVASA's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N`. `tiny` has
a thin renderer, whose sizes go along as models.yaml, and a speech network of one layer. The settings beside the motion
generator are those of the published file. Detectors come as finished ONNX files, here empty: the driver passes them
over. Nothing made from these files is a result.
"""

import argparse
import os
import pickle
import sys
from pathlib import Path

import driverlib

WEIGHTS = "pretrained_weights"
SPEECH = "TencentGameMate:chinese-hubert-base"
DETECTORS = (
    "insightface/models/buffalo_l/det_10g.onnx",
    "insightface/models/buffalo_l/2d106det.onnx",
    "liveportrait/landmark.onnx",
)
MOTION = {  # the published file's command line, as far as the code reads it
    "motion_feat_dim": 73, "n_motions": 100, "n_prev_motions": 10, "feature_dim": 256, "n_diff_steps": 50, "fps": 25,
    "audio_model": "hubert_zh", "pad_mode": "zero", "use_indicator": True, "data_root": Path("data"),
}  # fmt: skip


def speech_network(folder, size):
    """chinese-hubert-base's files as transformers writes them."""
    from transformers import HubertConfig, HubertModel

    network = HubertModel(HubertConfig(num_hidden_layers=12 if size == "full" else 1))
    network.save_pretrained(folder, safe_serialization=False)


def sizes(size):
    """The sizes of the checkout's models.yaml; for `tiny` a quarter as wide, the keypoints as they are."""
    import yaml

    with open("src/config/models.yaml") as stream:
        settings = yaml.safe_load(stream)
    if size == "tiny":
        parts = settings["model_params"]
        thin = {"block_expansion": 16, "max_features": 128}
        for name in ("appearance_feature_extractor", "warping_module", "spade_generator"):
            parts[name + "_params"].update(thin)
        parts["spade_generator_params"]["out_channels"] = 16
        for name in ("appearance_feature_extractor", "warping_module"):
            parts[name + "_params"]["reshape_channel"] = 8
        parts["warping_module_params"]["dense_motion_params"].update(block_expansion=8, max_features=64)
    return settings


def renderer(root, settings):
    """LivePortrait's five files."""
    import torch
    from src.utils import helper

    classes = {
        "appearance_feature_extractor": helper.AppearanceFeatureExtractor,
        "motion_extractor": helper.MotionExtractor,
        "warping_module": helper.WarpingNetwork,
        "spade_generator": helper.SPADEDecoder,
    }
    for name, network in classes.items():
        torch.save(network(**settings[name + "_params"]).state_dict(), root / "base_models" / (name + ".pth"))
    widths, parts = settings["stitching_retargeting_module_params"], {}
    for key, name in (("retarget_shoulder", "stitching"), ("retarget_mouth", "lip"), ("retarget_eye", "eye")):
        parts[key] = helper.StitchingRetargetingNetwork(**widths[name]).state_dict()
    torch.save(parts, root / "retargeting_models" / "stitching_retargeting_module.pth")


def motion_generator(root):
    """The motion generator with its settings, and the ranges that its output is stretched to."""
    import numpy
    import shims
    import torch
    from src.modules import dit_talking_head

    shims.device_of_the_motion_generator("cpu")
    names = ("motion_feat_dim", "n_motions", "n_prev_motions", "feature_dim", "audio_model", "n_diff_steps")
    network = dit_talking_head.DitTalkingHead(device="cpu", **{name: MOTION[name] for name in names})
    content = {"args": argparse.Namespace(**MOTION), "model": network.state_dict()}
    torch.save(content, root / "motion_generator" / "motion_generator_hubert_chinese.pt")
    ranges = {"scale": (1.2, 1.6), "t": (-0.1, 0.1), "pitch": (-15, 15), "yaw": (-15, 15), "roll": (-10, 10)}
    template = {"mean_exp": numpy.zeros(63, "float32"), "std_exp": numpy.full(63, 0.01, "float32")}
    for name, (low, high) in ranges.items():
        width = 3 if name == "t" else 1
        template["min_" + name], template["max_" + name] = numpy.full((2, width), [[low], [high]], "float32")
    with open(root / "motion_template" / "motion_template.pkl", "wb") as stream:
        pickle.dump(template, stream)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("weights")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    checkout, weights = os.path.abspath(args.checkout), Path(args.weights).absolute()
    sys.path.insert(0, checkout)
    os.chdir(checkout)
    root = weights / WEIGHTS
    for folder in ("liveportrait/base_models", "liveportrait/retargeting_models", "insightface/models/buffalo_l",
                   "JoyVASA/motion_generator", "JoyVASA/motion_template"):  # fmt: skip
        (root / folder).mkdir(parents=True, exist_ok=True)
    import shims
    import torch

    torch.manual_seed(args.seed)
    speech_network(root / SPEECH, args.size)
    from src.modules import dit_talking_head

    dit_talking_head.make_abs_path = lambda name: str(root / Path(name).name)
    shims.eager_attention("cpu")
    import yaml

    settings = sizes(args.size)
    renderer(root / "liveportrait", settings["model_params"])
    (weights / "models.yaml").write_text(yaml.safe_dump(settings))
    motion_generator(root / "JoyVASA")
    for name in DETECTORS:
        (root / name).touch()
    driverlib.write_marker(str(weights), system="joyvasa", size=args.size, seed=args.seed)


if __name__ == "__main__":
    main()
