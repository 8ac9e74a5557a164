"""`floatbench generate` as it is typed: a video, a table of videos, and every kind of bad input."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from generating import FACE, generate, left, run, sound
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from floatbench.media import probe, read_video

pytestmark = pytest.mark.usefixtures("inputs")


def test_a_picture_and_a_sound_become_a_marked_video(weights: Path, capsys: pytest.CaptureFixture):
    assert generate(weights, "-o", "out.mp4") == 0
    assert left() == ["out.mp4"]
    info = probe(Path("out.mp4"))
    assert info.video is not None and (info.video.codec, info.video.width) == ("h264", 64)
    assert info.audio is not None and info.audio.codec == "aac"
    assert info.metadata["synthetic_media"] == "yes"
    assert read_video(Path("out.mp4"))[0].shape[0] == 3
    assert "3 frames" in capsys.readouterr().out


def test_json_names_stages_evaluations_and_settings(weights: Path, capsys: pytest.CaptureFixture):
    assert generate(weights, "-o", "out.mkv", "--preset", "official", "--emotion", "happy", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["state"], record["n_frames"], record["nfe"], record["network_rows"]) == ("made", 3, 1, 3)
    assert record["settings"]["preset"] == "official" and record["settings"]["direction"]["emotion"] == "happy"
    assert record["settings"]["options"]["ode_grid"] == "official"
    assert set(record["seconds"]) == {"crop", "speech", "encode", "solve", "decode", "convert", "mux"}


def test_the_same_command_gives_the_same_frames_and_a_seed_changes_them(weights: Path):
    control = ("--control", "0=set:3")  # the untrained network itself returns its noise; keep it visible
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert generate(weights, "-o", f"{name}.mkv", "--seed", seed, *control) == 0
    a, b, c = (read_video(Path(f"{name}.mkv"))[0] for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_a_curve_controls_a_direction(weights: Path):
    Path("in/curve.csv").write_text("frame,value\n0,0\n2,8\n")
    assert generate(weights, "-o", "a.mkv") == 0
    assert generate(weights, "-o", "b.mkv", "--control", "1=in/curve.csv") == 0
    a, b = (read_video(Path(f"{name}.mkv"))[0] for name in "ab")
    assert np.array_equal(a[0], b[0]) and not np.array_equal(a[2], b[2])


def test_given_boxes_choose_the_face(weights: Path, capsys: pytest.CaptureFixture):
    Path("in/boxes.csv").write_text("left,top,right,bottom\n20,20,70,70\n")
    assert generate(weights, "--crop", "given", "--boxes", "in/boxes.csv", "--json", crop=True) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["crop"] == "given"


def test_a_table_of_jobs_resumes_and_a_failed_row_stops_nothing(weights: Path, capsys: pytest.CaptureFixture):
    table = "image,audio,out,seed,emotion\nface.png,speech.wav,../a.mkv,1,happy\nnone.png,speech.wav,../b.mkv,,\n"
    Path("in/jobs.csv").write_text("\ufeff" + table + "face.png,speech.wav,../c.mp4,,\n", encoding="utf-8")
    assert generate(weights, "--jobs", "in/jobs.csv", "--json") == 1
    states = [(Path(j["path"]).name, j["state"]) for j in json.loads(capsys.readouterr().out)["jobs"]]
    assert states == [("a.mkv", "made"), ("b.mkv", "failed"), ("c.mp4", "made")]
    assert left() == ["a.mkv", "c.mp4"]
    Image.fromarray(FACE).save("in/none.png")
    assert generate(weights, "--jobs", "in/jobs.csv", "--json") == 0
    states = {Path(j["path"]).name: j["state"] for j in json.loads(capsys.readouterr().out)["jobs"]}
    assert states == {"a.mkv": "unchanged", "b.mkv": "made", "c.mp4": "unchanged"}
    assert generate(weights, "--jobs", "in/jobs.csv", "--json", "--seed", "5") == 0
    states = {Path(j["path"]).name: j["state"] for j in json.loads(capsys.readouterr().out)["jobs"]}
    assert states == {"a.mkv": "unchanged", "b.mkv": "made", "c.mp4": "made"}  # the first has a seed of its own


@pytest.mark.parametrize(
    ("table", "code", "message"),
    [
        ("image,audio\na,b\n", 2, "the column 'out' is missing"),
        ("image,audio,out\n", 2, "no row"),
        ("image,audio,out,speed\na,b,c.mp4,1\n", 2, "unknown column 'speed'"),
        ("image,audio,out\na,b\n", 2, "jobs.csv:2: 2 fields"),
        ("image,audio,out\na,,c.mp4\n", 2, "jobs.csv:2: audio: is empty"),
        ("image,audio,out,seed\na,b,c.mp4,-1\n", 2, "jobs.csv:2: seed"),
        ("image,audio,out,emotion\na,b,c.mp4,joyful\n", 2, "jobs.csv:2: emotion: 'joyful' is neither"),
        ("image,audio,out\na,b,c.mp4\na,b,./c.mp4\n", 2, "twice"),
        ("image,audio,out\na,b,c.avi\n", 2, "must end in"),
    ],
)
def test_a_damaged_table_is_refused_whole(weights: Path, capsys, table: str, code: int, message: str):
    Path("in/jobs.csv").write_text(table)
    assert generate(weights, "--jobs", "in/jobs.csv") == code
    assert message in capsys.readouterr().err and left() == []


def test_missing_official_weights_name_command_and_licence(capsys: pytest.CaptureFixture):
    assert generate("float") == 4
    errors = capsys.readouterr().err
    assert "fix: floatbench weights fetch float wav2vec2-base-960h" in errors and "--accept-license" in errors
    assert "two public texts disagree" in errors and "CC BY-NC" in errors and left() == []


def test_a_missing_detector_names_its_command(weights: Path, capsys: pytest.CaptureFixture):
    assert generate(weights, crop=True) == 4
    assert "floatbench weights fetch s3fd-face-alignment" in capsys.readouterr().err and left() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nfe", "0"), "nfe: should be"),
        (("--a-cfg", "-1"), "a_cfg: should be"),
        (("--e-cfg", "nan"), "e_cfg: should be"),
        (("--r-cfg", "2"), "reference branch"),
        (("--solver", "leapfrog"), "solver: unknown 'leapfrog'"),
        (("--solver", "rk4", "--nfe", "10"), "4 evaluations a step"),
        (("--preset", "fast"), "unknown preset"),
        (("--emotion", "joyful"), "angry, disgust"),
        (("--control", "4=1"), "directions 0 to 3"),
        (("--control", "x"), "DIR=VALUE"),
        (("--audio-context", "half"), "audio_context: should be 'full' or 'window'"),
        (("--dtype", "int8"), "dtype: should be"),
        (("--impl", "slow"), "impl: should be"),
        (("--crop", "magic"), "unknown box back end"),
        (("--device", "abacus"), "unknown device"),
        (("-o", "out.avi"), "must end in .mp4"),
        (("-o", "in"), "must end in"),
        (("--seed", "-1"), "seed"),
    ],
)
def test_options_out_of_range_are_usage_errors(weights: Path, capsys, arguments: tuple, message: str):
    crop = "--crop" in arguments
    assert generate(weights, *arguments, crop=crop) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and left() == []


def test_image_and_audio_are_needed(capsys: pytest.CaptureFixture):
    assert run("generate", "--image", "in/face.png") == 2
    assert "--image and --audio are needed" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["itself", "spelling", "link", "hard link", "picture"])
def test_an_output_that_is_an_input_is_refused_under_every_name(weights: Path, way: str, capsys: pytest.CaptureFixture):
    sound(Path("in/clip.mkv"), 0.12)  # its content says what it is
    out = {"itself": "in/clip.mkv", "spelling": "in/../in/clip.mkv"}.get(way, "out.mkv")
    if way == "link":
        Path(out).symlink_to("in/clip.mkv")
    elif way == "hard link":
        os.link("in/clip.mkv", out)
    elif way == "picture":
        out = "in/face.png"
    before = {path: path.read_bytes() for path in Path("in").iterdir()}
    assert generate(weights, "--audio", "in/clip.mkv", "-o", out) == 2
    assert "is the input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("in").iterdir()} == before


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("face.png,speech.wav,a.mkv\nface.png,speech.wav,./a.mkv", "names the output"),
        ("face.png,speech.wav,a.mkv\nface.png,speech.wav,../in/a.mkv", "names the output"),
        ("face.png,speech.wav,a.mkv\nface.png,a.mkv,b.mkv", "is the input"),
        ("face.png,speech.wav,clip.mkv\nface.png,../in/clip.mkv,b.mkv", "is the input"),
    ],
)
def test_a_table_never_writes_over_another_row(weights: Path, rows: str, reason: str, capsys: pytest.CaptureFixture):
    sound(Path("in/clip.mkv"), 0.12)
    Path("in/jobs.csv").write_text(f"image,audio,out\n{rows}\n")
    before = {path: path.read_bytes() for path in Path("in").iterdir()}
    assert generate(weights, "--jobs", "in/jobs.csv") == 2
    assert reason in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("in").iterdir()} == before


def test_spaces_in_a_table_are_no_part_of_its_names(weights: Path):
    table = """image, audio , out\nface.png, speech.wav, ../a.mkv\n"face.png", "speech.wav", "../b.mkv"\n"""
    Path("in/jobs.csv").write_text(table)
    assert generate(weights, "--jobs", "in/jobs.csv") == 0
    assert left() == ["a.mkv", "b.mkv"]


def _picture(kind: str) -> None:
    grey = FACE[..., 0]
    if kind == "grey":
        Image.fromarray(grey).save("in/p.png")
    elif kind == "rgba":
        Image.fromarray(np.dstack([FACE, grey])).save("in/p.png")
    elif kind == "16-bit":
        Image.fromarray(grey.astype(np.uint16) * 257).save("in/p.png")
    elif kind == "huge":
        Image.new("RGB", (6000, 5000), (120, 90, 60)).save("in/p.png")
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(FACE).save("in/p.png", exif=exif)


@pytest.mark.parametrize("kind", ["grey", "rgba", "16-bit", "huge", "rotated"])
def test_unusual_pictures_are_animated(weights: Path, kind: str):
    _picture(kind)
    assert generate(weights, "--image", "in/p.png", "-o", "out.mkv") == 0
    assert read_video(Path("out.mkv"))[0].shape == (3, 64, 64, 3)


def test_a_turned_picture_is_turned_upright(weights: Path):
    _picture("rotated")
    Image.fromarray(np.rot90(FACE, -1)).save("in/upright.png")
    for name, image in (("a", "in/p.png"), ("b", "in/upright.png")):
        assert generate(weights, "--image", image, "-o", f"{name}.mkv") == 0
    assert np.array_equal(*(read_video(Path(f"{name}.mkv"))[0] for name in "ab"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "missing"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(b"no picture at all"), "unreadable"),
        (lambda p: p.write_bytes(Path("in/face.png").read_bytes()[:900]), "unreadable"),
        (lambda p: Image.fromarray(FACE[:20, :20]).save(p), "too_small"),
        (lambda p: Image.new("1", (20_000, 10_000)).save(p), "too_large"),
    ],
)
def test_unusable_pictures_are_data_errors(weights: Path, capsys, make, reason: str):
    make(Path("in/p.png"))
    assert generate(weights, "--image", "in/p.png") == 4
    assert f"error: {reason}: " in capsys.readouterr().err and left() == []


def test_a_picture_without_a_face_is_a_data_error(weights: Path, capsys: pytest.CaptureFixture):
    Path("in/boxes.csv").write_text("frame,left,top,right,bottom\n7,20,20,70,70\n")  # none in frame 0
    assert generate(weights, "--crop", "given", "--boxes", "in/boxes.csv", crop=True) == 4
    assert "no_face" in capsys.readouterr().err and left() == []


@pytest.mark.parametrize(
    ("name", "given", "frames"),
    [
        ("twenty-ms.wav", {"seconds": 0.02}, 1),
        ("stereo.wav", {"seconds": 0.12, "channels": 2, "rate": 44_100}, 3),
        ("8-khz.wav", {"seconds": 0.12, "rate": 8_000}, 3),
        ("24-bit.wav", {"seconds": 0.12, "width": 3, "rate": 48_000}, 3),
        ("mislabelled.mp3", {"seconds": 0.12}, 3),
        ("silent.wav", {"seconds": 0.12, "loud": 0.0}, 3),
    ],
)
def test_unusual_sounds_are_spoken(weights: Path, name: str, given: dict, frames: int):
    sound(Path("in") / name, **given)
    assert generate(weights, "--audio", f"in/{name}", "-o", "out.mkv") == 0
    assert read_video(Path("out.mkv"))[0].shape[0] == frames


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "missing"),
        (lambda p: p.write_bytes(b""), "empty"),
        (lambda p: p.write_bytes(b"RIFF not a sound"), "unreadable"),
        (lambda p: sound(p, 0.0), "no_audio"),
        (lambda p: Image.fromarray(FACE).save(p, format="PNG"), "unreadable"),
    ],
)
def test_unusable_sounds_are_data_errors(weights: Path, capsys, make, reason: str):
    make(Path("in/s.wav"))
    assert generate(weights, "--audio", "in/s.wav") == 4
    assert f"error: {reason}: " in capsys.readouterr().err and left() == []


def test_silence_is_told(weights: Path, capsys: pytest.CaptureFixture):
    sound(Path("in/silent.wav"), 0.12, loud=0.0)
    code = run("generate", "--weights", weights, "--no-crop", "-i", "in/face.png", "-a", "in/silent.wav", "--nfe", "2")
    assert code == 0 and "the sound is silent" in capsys.readouterr().err


@pytest.mark.slow
def test_two_hours_need_the_window_context(weights: Path, capsys: pytest.CaptureFixture):
    sound(Path("in/long.wav"), 7200, rate=8_000)
    assert generate(weights, "--audio", "in/long.wav") == 2
    assert "7200 s" in capsys.readouterr().err and left() == []


def test_more_than_ten_minutes_need_the_window_context(weights: Path, capsys: pytest.CaptureFixture):
    sound(Path("in/long.wav"), 601, rate=8_000)
    assert generate(weights, "--audio", "in/long.wav") == 2
    assert "--audio-context window" in capsys.readouterr().err and left() == []


def test_weights_with_nan_are_a_data_error(weights: Path, capsys: pytest.CaptureFixture):
    tensors = load_file(weights)
    tensors["fmt.c_embedder.weight"][0, 0] = float("nan")
    with safe_open(weights, "pt") as file:
        save_file(tensors, "in/nan.safetensors", metadata=file.metadata())
    assert generate(Path("in/nan.safetensors")) == 4
    assert "fmt.c_embedder.weight holds NaN" in capsys.readouterr().err and left() == []


class _Code:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("name", ["evil.pth", "evil.safetensors"])
def test_a_pickle_with_code_is_refused_and_does_not_run(name: str, capsys: pytest.CaptureFixture):
    Path("in", name).write_bytes(pickle.dumps({"fmt.pos_embed": _Code()}))
    assert generate(Path("in", name)) == 4
    assert name in capsys.readouterr().err and left() == []


def test_a_write_to_a_folder_that_cannot_be_made_is_an_environment_error(weights: Path, capsys: pytest.CaptureFixture):
    Path("in/file").write_text("")
    assert generate(weights, "-o", "in/file/out.mp4") == 3
    assert "cannot be written" in capsys.readouterr().err and left() == []
