"""python fabricate.py CHECKOUT WEIGHTS_DIR --size full|tiny --seed N"""

import argparse
import json
import os
import random

import driverlib

parser = argparse.ArgumentParser()
parser.add_argument("checkout")
parser.add_argument("weights")
parser.add_argument("--size", default="full")
parser.add_argument("--seed", type=int, default=0)
given = parser.parse_args()
os.makedirs(os.path.join(given.weights, "ckpts"), exist_ok=True)
with open(os.path.join(given.weights, "ckpts", "level.json"), "w") as stream:
    json.dump({"level": random.Random(given.seed).randrange(1, 255)}, stream)
driverlib.write_marker(given.weights, size=given.size, seed=given.seed)
