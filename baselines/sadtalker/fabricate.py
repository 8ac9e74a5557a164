"""Writes SadTalker's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full --seed 0`. The networks have
one size only, so `tiny` writes the same files as `full`. The two face networks are made too, but random ones find no
face: with them the driver puts the shim `template_face` in their place. Nothing made from these files is a result.
"""

import argparse
import json
import site
import sys
from pathlib import Path

RENDERER = "checkpoints/SadTalker_V0.0.2_256.safetensors"
MAPPINGS = {"checkpoints/mapping_00229-model.pth.tar": "facerender.yaml"}
STILL_MAPPINGS = {"checkpoints/mapping_00109-model.pth.tar": "facerender_still.yaml"}


def renderer_tensors(config_dir):
    """The renderer, the sound networks and the face reconstruction under the prefixes of the official file."""
    import yaml
    from src.audio2exp_models.networks import SimpleWrapperV2
    from src.audio2pose_models.audio2pose import Audio2Pose
    from src.face3d.models import networks
    from src.facerender.modules.generator import OcclusionAwareSPADEGenerator
    from src.facerender.modules.keypoint_detector import KPDetector
    from yacs.config import CfgNode

    params = yaml.safe_load((config_dir / "facerender.yaml").read_text())["model_params"]
    with (config_dir / "auido2pose.yaml").open() as text:
        pose = CfgNode.load_cfg(text)
    parts = {
        "generator": OcclusionAwareSPADEGenerator(**params["generator_params"], **params["common_params"]),
        "kp_extractor": KPDetector(**params["kp_detector_params"], **params["common_params"]),
        "face_3drecon": networks.define_net_recon(net_recon="resnet50", use_last_fc=False, init_path=""),
        "audio2exp": SimpleWrapperV2(),
        "audio2pose": Audio2Pose(pose, None, device="cpu"),
    }
    tensors = {
        "%s.%s" % (prefix, name): tensor.contiguous().clone()
        for prefix, network in parts.items()
        for name, tensor in network.state_dict().items()
    }
    return tensors, {prefix: sum(p.numel() for p in network.parameters()) for prefix, network in parts.items()}


def face_networks():
    """RetinaFace and the landmark network, under the file names that facexlib looks for."""
    from facexlib.detection.retinaface import RetinaFace
    from src.face3d.util.my_awing_arch import FAN

    return {
        "gfpgan/weights/detection_Resnet50_Final.pth": RetinaFace(network_name="resnet50", device="cpu").state_dict(),
        "gfpgan/weights/alignment_WFLW_4HG.pth": {
            "state_dict": FAN(num_modules=4, num_landmarks=98, device="cpu").state_dict()
        },
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    site.addsitedir(str(args.checkout.resolve()))
    import shims  # beside this file

    shims.apply(shims.BY_NAME if sys.version_info >= (3, 11) else ())
    import torch
    import yaml
    from safetensors.torch import save_file
    from src.facerender.modules.mapping import MappingNet

    torch.manual_seed(args.seed)
    for name in ("checkpoints", "gfpgan/weights"):
        (args.weights / name).mkdir(parents=True, exist_ok=True)
    config_dir = args.checkout / "src/config"
    tensors, parameters = renderer_tensors(config_dir)
    save_file(tensors, str(args.weights / RENDERER))
    for name, config in dict(MAPPINGS, **STILL_MAPPINGS).items():
        params = yaml.safe_load((config_dir / config).read_text())["model_params"]
        network = MappingNet(**params["mapping_params"])
        parameters[name] = sum(p.numel() for p in network.parameters())
        torch.save({"mapping": network.state_dict(), "epoch": 0}, str(args.weights / name))
    for name, state in face_networks().items():
        torch.save(state, str(args.weights / name))
    files = {
        str(path.relative_to(args.weights)): {"bytes": path.stat().st_size}
        for path in sorted(args.weights.rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }
    marker = {"system": "sadtalker", "size": "full", "seed": args.seed, "parameters": parameters, "files": files}
    (args.weights / "FABRICATED.json").write_text(json.dumps(marker, indent=1))
    print(json.dumps(marker))


if __name__ == "__main__":
    main()
