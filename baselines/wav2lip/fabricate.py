"""Writes Wav2Lip's weight files with seeded random numbers, from the classes of an official checkout.

Run in the system's own environment: `python fabricate.py CHECKOUT WEIGHTS_DIR --size full --seed 0`. The networks have
one size only, so `tiny` writes the same files as `full`. A random detector finds no face: with these files the driver
uses the script's own `--box`. Nothing made from them is a result.
"""

import argparse
import os
import sys

import driverlib

parser = argparse.ArgumentParser()
parser.add_argument("checkout")
parser.add_argument("weights")
parser.add_argument("--size", choices=("full", "tiny"), default="full")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
sys.path.insert(0, args.checkout)

import torch  # noqa: E402
from face_detection.detection.sfd.net_s3fd import s3fd  # noqa: E402
from models import Wav2Lip  # noqa: E402

torch.manual_seed(args.seed)
network = {"state_dict": {"module." + name: tensor for name, tensor in Wav2Lip().state_dict().items()}}
files = {
    "checkpoints/wav2lip.pth": network,
    "checkpoints/wav2lip_gan.pth": network,
    "face_detection/detection/sfd/s3fd.pth": s3fd().state_dict(),
}
for name, content in files.items():
    path = os.path.join(args.weights, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save(content, path)
driverlib.write_marker(args.weights, system="wav2lip", size="full", seed=args.seed, files=sorted(files))
