"""The command under a result: read by the real command line it asks for exactly what the page did."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import floatbench
from floatbench.animate import jobs
from floatbench.cli.app import main
from floatbench.model.checkpoint import Metadata, save
from floatbench.web.wish import CLIP, VideoWish, score_command, video_name

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12).map("{}.png".format)
WISHES = st.builds(
    VideoWish,
    weights=st.sampled_from(["float-tiny", "my model.safetensors"]),
    crop=st.sampled_from(["none", "s3fd", "mediapipe"]),
    emotion=st.sampled_from(["speech", "happy"]),
    a_cfg=st.floats(0, 10),
    e_cfg=st.floats(0, 10),
    nfe=st.integers(1, 50),
    seed=st.integers(0, 2**63 - 1),
    directions=st.dictionaries(st.integers(0, 19), st.floats(-10, 10), max_size=3).map(lambda d: tuple(d.items())),
)


def typed(command: str) -> int:
    """The exit code of a line as a shell would hand it over."""
    program, *words = shlex.split(command)
    assert program == "floatbench"
    with pytest.raises(SystemExit) as done:
        main(words)
    return int(done.value.code or 0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(wish=WISHES, image=NAMES, audio=NAMES)
def test_a_command_asks_for_what_was_chosen_on_the_page(
    monkeypatch: pytest.MonkeyPatch, wish: VideoWish, image: str, audio: str
):
    asked: list[Any] = []

    def run(common: Any, rows: Any, *_: Any, **__: Any) -> list[Any]:
        asked.append((common, rows))
        return [jobs.VideoOutcome(rows[0].out)]

    monkeypatch.setattr(jobs, "run", run)
    assert typed(wish.command(image, audio, video_name(image))) == 0
    ((common, (row,)),) = asked
    assert (row.image, row.audio, row.out) == (Path(image), Path(audio), Path(video_name(image)))
    choices = common.choices
    assert {name: getattr(choices.options, name) for name in ("a_cfg", "e_cfg", "nfe")} == wish.sampling()
    assert choices.controls == wish.controls()
    assert (common.weights, common.device, common.crop) == (wish.weights, wish.device, wish.crop)
    assert (choices.emotion, common.seed, choices.preset) == (wish.emotion, wish.seed, "default")


@pytest.mark.parametrize(("prediction", "named"), [("velocity", True), ("x0", False)])
def test_evaluations_are_named_for_networks_that_read_them(make_network, tmp_path: Path, prediction: str, named: bool):
    network, file = make_network(prediction=prediction), tmp_path / "model.safetensors"
    save(network, file, Metadata(network.config))
    wish = VideoWish(str(file))
    assert ("--nfe" in wish.command("a.png", "a.wav", "a.mp4")) == ("nfe" in wish.sampling()) == named


def test_a_video_is_named_after_its_portrait_and_its_side():
    assert video_name("anna.b.jpg") == "anna.b.mp4"
    assert video_name("anna.jpg", "b") == "anna-b.mp4"


@pytest.mark.parametrize("controls", [True, False])
def test_the_lines_for_a_pair_lay_the_files_out_and_score_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controls: bool
):
    monkeypatch.chdir(tmp_path)
    names = ("it's mine.mp4", "-real.mov")
    for name in names:
        Path(name).write_text(name)
    *copies, score = score_command(*names, controls).splitlines()
    subprocess.run(["sh", "-ec", "\n".join(copies)], check=True)
    assert Path(f"generated/{CLIP}.mp4").read_text() == names[0]
    assert Path(f"reference/{CLIP}.mov").read_text() == names[1]

    asked: dict[str, Any] = {}

    class Asked(Exception):
        pass

    def called(generated: Path, reference: Path, **choices: Any) -> None:
        asked.update(choices, generated=generated, reference=reference)
        raise Asked

    monkeypatch.setattr(floatbench, "score", called)
    with pytest.raises(Asked):
        main(shlex.split(score)[1:])
    assert (asked["generated"], asked["reference"]) == (Path("generated"), Path("reference"))
    assert asked["controls"] is controls and asked["skip_unavailable"] is True
    from floatbench.api import SCORE_METRICS

    assert tuple(asked["metrics"]) == SCORE_METRICS
