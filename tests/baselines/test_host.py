from pathlib import Path

import numpy as np

from floatbench.bench.baseline_method import BaselineMethod
from floatbench.bench.method import Request

N = 5


def request(folder: Path, n_frames: int = N, seed: int = 5 << 32, shade: int = 90) -> Request:
    folder.mkdir(exist_ok=True)
    source = np.full((64, 64, 3), shade, np.uint8)
    audio = np.arange(n_frames * 640).astype(np.int16)
    return Request("clip a", "clip_a", source, audio, n_frames, seed, folder)


def test_x(dummy, tmp_path):
    dummy()
    m = BaselineMethod("dummy")
    m.load()
    out = m.generate(request(tmp_path / "o"))
    print(out, m.ready, m.describe())
    m.close()
