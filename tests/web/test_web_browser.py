"""The page in a real headless Chromium: upload, generate, watch, stop, compare, score, and what goes wrong."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import serve

from floatbench.media import read_video, write_image, write_wav
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the extra web is not installed"),
]
ROOT = Path(__file__).resolve().parents[2]
SECONDS, LONG_S = 2.0, 60.0
PATIENCE_MS = 60_000
APART_S = 0.15
"""Seconds that two videos in step may be apart while they play: they are moved together at every `timeupdate`, which
comes four times a second at least, when they are more than 0.08 apart."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic person's portrait and speech, a long speech, and a picture that is none."""
    folder = tmp_path_factory.mktemp("files")
    clip = SyntheticClip(TEST_FIRST, 0, SECONDS)
    write_image(folder / "anna.png", clip.frames(256, every=clip.n_frames)[0])
    write_wav(folder / "anna.wav", clip.audio())
    write_wav(folder / "long.wav", SyntheticClip(TEST_FIRST, 0, LONG_S).audio())
    (folder / "broken.png").write_bytes(b"no picture at all")
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The page of a server of its own, and the folder that it keeps things in."""
    temporary = tmp_path_factory.mktemp("server")
    process, page = serve(temporary, FLOATBENCH_HOME=str(temporary / "home"))
    try:
        yield page, temporary
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(params=[{"width": 1280, "height": 900}], ids=["wide"])
def page(chromium: Any, address: tuple[str, Path], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page; an error on its console, or any request to another place, fails the test."""
    context = chromium.new_context(viewport=request.param, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    own = (address[0], "data:", "blob:")
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(own) else None)
    opened.goto(address[0])
    opened.wait_for_selector("#generate-start")
    yield opened
    context.close()
    assert wrong == []


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


ARRIVED = """count => [...document.querySelectorAll('[aria-label="Clear"], [aria-label="Remove Image"]')].filter(
    button => button.offsetParent).length === count"""
"""A field that holds a file has a button that clears it."""


def give(page: Any, *names: Path) -> None:
    """Uploads to the fields of the tab that is open, in their order."""
    panel = page.locator("[role=tabpanel]:visible")
    for position, path in enumerate(names):
        fields = panel.locator("input[type=file]")
        (fields.last if position else fields.first).set_input_files(path)
        page.wait_for_function(ARRIVED, arg=position + 1)
    page.wait_for_load_state("networkidle")


def command(page: Any, prefix: str) -> str:
    page.click(f"#{prefix}-command button[aria-label*='opy'], #{prefix}-command button[title*='opy']")
    return page.evaluate("navigator.clipboard.readText()")


def error(page: Any, prefix: str) -> str:
    page.wait_for_selector(f"#{prefix}-stage .fb-error")
    return page.inner_text(f"#{prefix}-stage .fb-error")


def test_frames_play_while_they_are_made_and_the_copied_command_makes_the_same_file(
    page: Any, files: Path, tmp_path: Path
):
    give(page, files / "anna.png", files / "anna.wav")
    page.evaluate(
        """() => {
        window.seen = new Set();
        const look = () => {
          const frame = document.querySelector('#generate-stage .fb-frame');
          if (frame) window.seen.add(frame.src);
        };
        new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
        }"""
    )
    page.click("#generate-start")
    page.wait_for_selector("#generate-stop:not([disabled])")
    page.wait_for_selector("#generate-stage .fb-frame")
    assert page.is_disabled("#generate-start")
    page.wait_for_selector("#generate-video video")
    assert page.evaluate("window.seen.size") >= 3  # of 50 frames, however slow the machine is
    assert "50 frames in" in page.inner_text("#generate-stage")
    assert page.evaluate("document.querySelector('#generate-video video').videoWidth") == 128
    page.wait_for_selector("#generate-start:not([disabled])")
    with page.expect_download() as download:
        page.click("#generate-video a[download], #generate-video button[aria-label*='ownload']")
    assert download.value.suggested_filename == "anna.mp4"
    download.value.save_as(tmp_path / "downloaded.mp4")
    line = command(page, "generate")
    for name in ("anna.png", "anna.wav"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    program, *words = shlex.split(line)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", program, *words], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "anna.mp4").read_bytes() == (tmp_path / "downloaded.mp4").read_bytes()
    assert len(read_video(tmp_path / "anna.mp4")[0]) == 50


def test_a_long_video_can_be_stopped_and_leaves_nothing(page: Any, files: Path, address: tuple[str, Path]):
    give(page, files / "anna.png", files / "long.wav")
    before = set(address[1].rglob("made/*"))
    page.click("#generate-start")
    page.wait_for_selector("#generate-stage .fb-frame")
    page.click("#generate-stop")
    assert error(page, "generate").startswith("error: stopped; nothing was kept")
    page.wait_for_selector("#generate-start:not([disabled])")
    assert page.is_disabled("#generate-stop") and page.locator("#generate-video video").count() == 0
    assert set(address[1].rglob("made/*")) == before


def test_who_closes_the_page_stops_the_work(page: Any, chromium: Any, files: Path, address: tuple[str, Path]):
    other = chromium.new_page()
    other.goto(address[0])
    other.wait_for_selector("#generate-start")
    give(other, files / "anna.png", files / "long.wav")
    other.click("#generate-start")
    other.wait_for_selector("#generate-stage .fb-frame", timeout=PATIENCE_MS)
    other.close()
    give(page, files / "anna.png", files / "anna.wav")
    page.click("#generate-start")  # waits until the machine is free: a minute of video would take far longer than this
    page.wait_for_selector("#generate-video video", timeout=25_000)


def test_a_bad_upload_has_the_error_of_the_command_line(page: Any, files: Path):
    give(page, files / "broken.png", files / "anna.wav")
    page.click("#generate-start")
    told = error(page, "generate")
    typed = subprocess.run(
        [sys.executable, "-m", "floatbench", "generate", "--image=broken.png", "--audio=anna.wav", "--no-crop",
         "--weights=float-tiny", "--out=never.mp4"],
        cwd=files, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert typed.returncode == 4 and told.split() == typed.stderr.split()


def test_nothing_given_is_an_error_too(page: Any):
    page.click("#generate-start")
    assert error(page, "generate").startswith("error: no portrait and no speech was given")


def test_missing_weights_are_named_with_their_size_and_command(page: Any):
    page.get_by_label("Model").first.click()
    page.get_by_role("option", name="float", exact=True).click()
    page.wait_for_selector("#generate-missing table")
    told = page.inner_text("#generate-missing")
    assert "378 MB" in told and "floatbench weights fetch float wav2vec2-base-960h" in told
    page.get_by_label("Model").first.click()
    page.get_by_role("option", name="float-tiny").click()
    page.wait_for_selector("#generate-missing table", state="detached")


def times(page: Any) -> list[float]:
    return page.evaluate("[...document.querySelectorAll('.fb-step video')].map(video => video.currentTime)")


def paused(page: Any) -> list[bool]:
    return page.evaluate("[...document.querySelectorAll('.fb-step video')].map(video => video.paused)")


def test_two_settings_are_compared_in_step(page: Any, files: Path):
    tab(page, "Compare")
    give(page, files / "anna.png", files / "anna.wav")
    page.get_by_label("Seed").nth(2).fill("5")
    page.click("#compare-start")
    page.wait_for_selector("#compare-b-video video")
    page.wait_for_selector("#compare-play:visible")
    assert "--seed 0" in command(page, "compare-a") and "--seed 5" in command(page, "compare-b")
    page.wait_for_function("[...document.querySelectorAll('.fb-step video')].every(video => video.readyState >= 3)")
    page.click("#compare-play")
    page.wait_for_function("[...document.querySelectorAll('.fb-step video')].every(video => video.currentTime > 0.4)")
    first, second = times(page)
    assert abs(first - second) < APART_S and paused(page) == [False, False]
    page.evaluate("document.querySelectorAll('.fb-step video')[1].pause()")
    page.wait_for_function("document.querySelectorAll('.fb-step video')[0].paused")
    page.evaluate("document.querySelectorAll('.fb-step video')[1].currentTime = 1.2")
    page.wait_for_function("Math.abs(document.querySelectorAll('.fb-step video')[0].currentTime - 1.2) < 0.01")
    page.evaluate("document.querySelectorAll('.fb-step video')[0].play()")
    page.wait_for_function("[...document.querySelectorAll('.fb-step video')].every(video => video.ended)")


def test_an_error_of_one_side_is_told_on_it(page: Any, files: Path):
    tab(page, "Compare")
    give(page, files / "broken.png", files / "anna.wav")
    page.click("#compare-start")
    assert "broken.png" in error(page, "compare-a")
    assert page.inner_text("#compare-b-stage") == "not made" and not page.is_visible("#compare-play")


def test_a_pair_of_videos_is_scored_with_what_is_installed(page: Any, files: Path, tmp_path: Path):
    from floatbench.media.writers import write_lossless

    frames = SyntheticClip(TEST_FIRST, 0, 0.4).frames(128)
    for name in ("mine.mkv", "real.mkv"):
        write_lossless(tmp_path / name, frames)
    tab(page, "Score")
    give(page, tmp_path / "mine.mkv", tmp_path / "real.mkv")
    page.get_by_label("Also score the control systems").uncheck()
    page.click("#score-start")
    page.wait_for_selector("#score-table table")
    assert "psnr-grey128" in page.inner_text("#score-table") and "100" in page.inner_text("#score-table")
    assert "left out: efid-mp52, pfid-mp6, avcorr-excess" in page.inner_text("#score-stage")
    assert command(page, "score").splitlines()[-1] == (
        "floatbench score --generated generated --reference reference --skip-unavailable --no-controls"
    )


@pytest.mark.parametrize("page", [{"width": 390, "height": 844}, {"width": 1280, "height": 900}], indirect=True)
def test_nothing_is_wider_than_the_window(page: Any):
    for name in ("Generate", "Compare", "Score"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
