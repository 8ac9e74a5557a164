"""The official network, at its full size and with random weights, from the command line to a video of noise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from floatbench.media import probe, read_audio, read_video, write_wav

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("float", "wav2vec2-base-960h", "wav2vec2-speech-emotion")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with fabricated weights of the three official networks (about 2.5 GB)."""
    folder = tmp_path_factory.mktemp("home")
    environment = dict(os.environ, FLOATBENCH_HOME=str(folder), PYTHONPATH=str(ROOT))
    for name in NAMES:
        _floatbench(environment, "weights", "fabricate", name)
    return environment


def _floatbench(environment: dict[str, str], *arguments: str | Path) -> str:
    command = [sys.executable, "-m", "floatbench", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _check(environment: dict[str, str], image: Path, audio: Path, out: Path, frames: int) -> None:
    text = _floatbench(
        environment, "generate", "-i", image, "-a", audio, "-o", out, "--no-crop", "--fabricated", "--json"
    )
    record = json.loads(text)
    assert (record["n_frames"], record["nfe"], record["network_rows"]) == (frames, 10, 30)
    assert record["settings"]["model"]["fabricated"] is True
    decoded, fps = read_video(out)
    assert decoded.shape == (frames, 512, 512, 3) and fps == 25
    tags = probe(out).metadata
    assert "random weights" in tags["comment"] and set(NAMES) == set(json.loads(tags["floatbench"])["model"]["files"])


def test_noise_in_noise_out(home: dict[str, str], tmp_path: Path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)).save(tmp_path / "face.png")
    write_wav(tmp_path / "speech.wav", rng.normal(0, 3000, 640 * 5).astype(np.int16))
    _check(home, tmp_path / "face.png", tmp_path / "speech.wav", tmp_path / "out.mp4", 5)


def test_a_real_portrait_with_real_speech(home: dict[str, str], tmp_path: Path, shared: Path):
    real = shared / "data" / "real"
    pcm = read_audio(real / "audio" / "float" / "aud-sample-vs-1.wav")
    write_wav(tmp_path / "speech.wav", pcm[16_000:48_000])
    _check(
        home, real / "portrait" / "float" / "sam_altman_512x512.jpg", tmp_path / "speech.wav", tmp_path / "out.mp4", 50
    )
