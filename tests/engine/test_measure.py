"""One metric over files: three lines, failures named."""

import numpy as np

from floatbench.engine.measure import measure_files
from floatbench.media import write_lossless
from floatbench.metrics import registry


def test_videos_are_scored_by_path_and_an_unreadable_one_is_named(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(25)]
    write_lossless(tmp_path / "a.mkv", frames)
    (tmp_path / "b.mkv").write_bytes(b"not a video")
    metric = registry.metric("psnr-grey128")
    score = measure_files(metric, [tmp_path / "a.mkv", tmp_path / "b.mkv"], [tmp_path / "a.mkv"] * 2)
    assert score.value == 100.0 and score.n == 1
    assert list(score.failures) == ["000001"] and score.failures["000001"].startswith("unreadable")
