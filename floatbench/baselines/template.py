"""The folder that `floatbench baseline new NAME` makes: fill in what is in angle brackets."""

from __future__ import annotations

import re
from pathlib import Path

from floatbench.baselines import manifest as manifests
from floatbench.errors import UsageError
from floatbench.files import write_bytes

MANIFEST = """\
# Fields: docs/baselines.md. Replace what is in angle brackets, delete what does not apply.
id = "{name}"
title = "<Name (venue year)>"
version = 1
seed_hook = "global"            # "none" when no seed reaches the system; its rows then say so
capture = "<where the frames are taken, before the system's encoder>"

[source]
repo = "<owner>/<repository>"
commit = "{zeros}"
sparse = []                     # folders that are not needed

[licence]
code = "<licence of the code>"
weights = "<licence of the weights>"
parts = []

[[weights]]
path = "checkpoints/<model.pth>"                 # inside the checkout
origins = ["hf://<owner>/<repository>@<revision>/<model.pth>"]

[profiles.modern]
python = "3.11"
lock = "lock-modern.txt"
sm_min = 7.5
sm_max = 12.0

[output]
fps = 25
size = "512x512"

[presets.protocol]
flags = {{}}                      # whatever driver.py wants to know

[proven]                        # in words, what was seen to work; empty means not yet
"""

DRIVER = '''\
"""Runs {name}: networks once, one clip at a time. Official code is imported from the checkout, never copied."""

import driverlib


class Driver(driverlib.System):
    def load(self, options):
        self.options = options
        # from official_package import Model
        # self.model = Model(...).to(options.device).eval()
        raise NotImplementedError("build the networks here")

    def parameters(self):
        return {{"model": driverlib.count_parameters(self.model)}}

    def generate(self, request):
        with self.stage("render"):
            frames = self.model(request.image, request.audio)  # (T, H, W, 3) in [0, 1]
        with self.stage("write"):
            folder = driverlib.write_frames(request.out_dir, driverlib.to_uint8(frames))
        return driverlib.Result(frames_dir=folder)


if __name__ == "__main__":
    driverlib.main(Driver)
'''

FABRICATE = '''\
"""Seeded random weights under the official names: python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N"""

import argparse

import driverlib

parser = argparse.ArgumentParser()
parser.add_argument("checkout")
parser.add_argument("weights")
parser.add_argument("--size", choices=["full", "tiny"], default="full")
parser.add_argument("--seed", type=int, default=0)
given = parser.parse_args()
driverlib.seed_everything(given.seed)
# build each network from the checkout's own classes and save its state dict below given.weights
raise SystemExit("nothing is fabricated yet")
driverlib.write_marker(given.weights, size=given.size, seed=given.seed)
'''

REQUIREMENTS = """\
# uv pip compile --generate-hashes --no-emit-index-url --python-version 3.11 requirements-modern.in -o lock-modern.txt
torch
"""


def create(name: str, parent: Path) -> Path:
    """Makes `parent/<name>`; UsageError for a name that cannot be one, is taken, or a folder that is there."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UsageError(f"{name!r} cannot be a baseline's name", fix="lower-case letters, digits and -")
    if name in manifests.names():
        raise UsageError(f"a baseline {name!r} exists already", fix="choose another name")
    folder = parent / name.replace("-", "_")
    if folder.exists():
        raise UsageError(f"{folder} exists already", fix="choose another name or --folder")
    contents = {
        "manifest.toml": MANIFEST.format(name=name, zeros="0" * 40),
        "driver.py": DRIVER.format(name=name),
        "fabricate.py": FABRICATE,
        "requirements-modern.in": REQUIREMENTS,
    }
    for file, text in contents.items():
        write_bytes(folder / file, text.encode())
    return folder
