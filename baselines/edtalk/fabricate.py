"""Writes EDTalk's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full --seed 0`. The networks have
one size only, so `tiny` writes the same files as `full`. Nothing made from them is a result: FABRICATED.json says so.
"""

import argparse
import json
import site
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    site.addsitedir(str(args.checkout.resolve()))

    import torch
    from networks.audio_encoder import Audio2Lip
    from networks.generator_lip_pose import Generator

    torch.manual_seed(args.seed)
    networks = {
        "ckpts/Audio2Lip.pt": ("audio2lip", Audio2Lip()),
        "ckpts/EDTalk_lip_pose.pt": ("gen", Generator()),
    }
    files = {}
    for name, (key, network) in networks.items():
        path = args.weights / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: network.state_dict()}, str(path))
        files[name] = {
            "bytes": path.stat().st_size,
            "parameters": sum(p.numel() for p in network.parameters()),
        }
    marker = {"system": "edtalk", "size": "full", "seed": args.seed, "files": files}
    (args.weights / "FABRICATED.json").write_text(json.dumps(marker, indent=1))
    print(json.dumps(marker))


if __name__ == "__main__":
    main()
