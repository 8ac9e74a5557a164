"""Prints what Bailando's beat alignment says of a drawn motion, for tests/metrics/test_frame_pairs.py.

Run from the repository root, with a checkout of github.com/lisiyao21/Bailando (S-Lab License 1.0, not for commercial
use; nothing of it is kept here): FLOATBENCH_SRC_BAILANDO=<checkout> python -m tests.golden.make_beats
SadTalker names it as the source of its beat alignment. The features of dances that the module imports are not needed.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

COMMIT = "cc90b98bff81c9709570db413c9610c2562e27ca"
BEATS_OF_THE_SOUND = (12, 20, 50, 90)


def motion() -> np.ndarray:
    """(100,) pixels to the side: an uneven speed, always forward, whose sums are exact in any order."""
    speed = np.random.default_rng(5).integers(1, 9, 100).astype(float)
    return np.cumsum(speed)


def source() -> ModuleType:
    """Their module, without what it imports for other measures."""
    for name, functions in (
        ("features.kinetic", ("extract_kinetic_features",)),
        ("features.manual_new", ("extract_manual_features",)),
        ("matplotlib.pyplot", ()),
    ):
        sys.modules[name] = ModuleType(name)
        for function in functions:
            setattr(sys.modules[name], function, None)
    path = Path(os.environ["FLOATBENCH_SRC_BAILANDO"]) / "utils" / "beat_align_score.py"
    spec = importlib.util.spec_from_file_location("reference_beats", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    theirs = source()
    joints = np.zeros((100, 24, 3))
    joints[:, :, 0] = motion()[:, None]
    found, _ = theirs.calc_db(joints)
    print("motion beats", found[0].tolist())
    print("over the sound's beats", repr(float(theirs.BA(BEATS_OF_THE_SOUND, found))))
    print("over the motion's beats", repr(float(theirs.BA(found[0], (np.array(BEATS_OF_THE_SOUND),)))))
