"""Known answers of the real weights: they can fail, they say what they need, and right ones are noted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback import make_video
from PIL import Image

from floatbench import weights
from floatbench.engine import answers, release_sample
from floatbench.weights import lockfile
from floatbench.weights.table import ENTRIES

BY_NAME = {answer.weights[0]: answer for answer in reversed(answers.ANSWERS)}


def test_answers_belong_to_the_table_and_name_their_source():
    known = {entry.name for entry in ENTRIES}
    assert {name for answer in answers.ANSWERS for name in answer.weights} <= known
    assert all(answer.source and answer.title for answer in answers.ANSWERS)
    assert all(url.startswith(("http://", "https://")) for answer in answers.ANSWERS for url in answer.inputs.values())
    assert [answer.weights[0] for answer in answers.of(["i3d-400", "vgg19"])] == ["i3d-400", "vgg19"]


@pytest.mark.parametrize(
    "name",
    [
        "i3d-400",
        pytest.param("i3d-torchscript", marks=pytest.mark.slow),
        "scrfd-det-10g",
        "s3fd-sfd-face",
        "s3fd-face-alignment",
    ],
)
def test_random_weights_give_a_wrong_answer(name, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    weights.fabricate(name)
    found = answers.ask(BY_NAME[name])
    assert found.state == "wrong" and found.fix == f"floatbench weights fetch --force {name}", found.said
    assert name not in lockfile.read().entries


def test_random_weights_do_not_hear_syncnets_example(monkeypatch):
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    weights.fabricate("syncnet-v2")
    answer = BY_NAME["syncnet-v2"]
    answers.inputs_dir().mkdir(parents=True)
    video = answers.inputs_dir() / "example.mp4"
    make_video(video, seconds=2, rate=Fraction(25))
    video.rename(video.with_suffix(".avi"))
    found = answers.ask(answer)
    assert found.state == "wrong" and "confidence" in found.said


def test_random_weights_do_not_know_the_dog(monkeypatch):
    from torchvision.models import vgg19

    answer = BY_NAME["vgg19"]
    torch.manual_seed(1)
    state = vgg19(weights=None).state_dict()
    monkeypatch.setattr(weights, "available", lambda name: True)
    monkeypatch.setattr(weights, "load_state_dict", lambda name: state)
    answers.inputs_dir().mkdir(parents=True)
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(answers.inputs_dir() / "dog.jpg")
    assert answers.ask(answer).state == "wrong"


def test_what_is_absent_is_no_wrong_answer_and_names_its_command(monkeypatch):
    found = answers.ask(BY_NAME["syncnet-v2"])
    assert (found.state, found.fix) == ("not tried", "floatbench weights fetch syncnet-v2")
    monkeypatch.setattr(weights, "available", lambda name: True)
    found = answers.ask(BY_NAME["syncnet-v2"])
    assert found.state == "not tried" and "example.avi" in found.said and found.fix.startswith("mkdir -p ")
    assert "curl -L" in found.fix and BY_NAME["syncnet-v2"].inputs["example.avi"] in found.fix


def right(name: str, said: str = "151.26") -> answers.Answer:
    return answers.Answer((name,), "a question", "a record", lambda _: (True, said))


def test_a_right_answer_is_noted_for_the_file_that_gave_it(monkeypatch: pytest.MonkeyPatch):
    digest = ["a" * 64]
    monkeypatch.setattr(weights, "available", lambda name: True)
    monkeypatch.setattr(weights, "is_fabricated", lambda name: False)
    monkeypatch.setattr(weights, "sha256", lambda name: digest[0])
    answer = right("i3d-400")
    assert not answers.tried(answer)
    for _ in range(2):
        assert answers.ask(answer).state == "ok"
    assert answers.tried(answer)
    (line,) = lockfile.read().entries["i3d-400"].answers
    assert line.startswith(f"{'a' * 64} a question: 151.26")
    digest[0] = "b" * 64  # another file under the same name
    assert not answers.tried(answer)


def test_the_distance_of_constant_videos_is_the_frechet_distance(monkeypatch: pytest.MonkeyPatch):
    """All videos of a set are alike: the covariances vanish and the squared distance of the means is left."""
    from floatbench.metrics.frechet import frechet_distance
    from floatbench.metrics.i3d import I3D, SIDE

    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    weights.fabricate("i3d-400")
    backbone = I3D()
    backbone.load()
    assert backbone.network is not None
    with torch.inference_mode():
        black, white = (backbone.network(sign * torch.ones(1, 3, 16, SIDE, SIDE)).numpy() for sign in (-1, 1))
    whole = frechet_distance(np.repeat(black, 8, 0), np.repeat(white, 8, 0))
    assert answers._constant_videos("i3d-400", 16) == pytest.approx(whole, rel=1e-4)


def test_the_face_of_the_astronaut_is_where_it_is_said_to_be():
    """scikit-image's picture, by the detector that needs no download: skin-coloured, upright, in the upper half."""
    picture = release_sample.astronaut()
    assert picture.shape == (512, 512, 3)
    assert answers._one_face([[166, 59, 284, 176]]) == (True, "a face of 117 pixels at (225, 118)")
    assert not answers._one_face([])[0] and not answers._one_face([[0, 0, 512, 512]])[0]
    assert not answers._one_face([[166, 59, 284, 176], [0, 0, 50, 50]])[0]


def test_inputs_lie_beside_the_weights():
    assert answers.inputs_dir() == Path(weights.folder("answers"))


def test_the_first_use_asks_once_and_says_what_came_of_it(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    lines: list[str] = []

    def ask(_: Path) -> tuple[bool, str]:
        asked.append("once")
        return True, "151.26"

    monkeypatch.setattr(answers, "ANSWERS", (answers.Answer(("i3d-400",), "a question", "a record", ask),))
    monkeypatch.setattr(weights, "available", lambda name: True)
    monkeypatch.setattr(weights, "is_fabricated", lambda name: False)
    monkeypatch.setattr(weights, "sha256", lambda name: "a" * 64)
    for _ in range(3):
        answers.first_use(["i3d-400", "float"], lines.append)
    assert asked == ["once"] and lines == ["i3d-400: known answer ok: a question; 151.26"]
    monkeypatch.setattr(weights, "is_fabricated", lambda name: True)
    monkeypatch.setattr(weights, "sha256", lambda name: "b" * 64)
    answers.first_use(["i3d-400"], lines.append)
    assert len(lines) == 1


def sample(folder: Path, shared: Path) -> Path:
    """The release's files, laid where the questions look for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("portrait/float/sam_altman.webp", "video/float/sam_altman_result.mp4"):
        (folder / Path(file).name).symlink_to(shared / "data/real" / file)
    return folder


def test_random_weights_know_nobody_in_the_release_sample(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    answer = next(one for one in answers.ANSWERS if one.weights[0] == "arcface-w600k-r50")
    for name in answer.weights:
        weights.fabricate(name)
    sample(answers.inputs_dir(), shared)
    found = answers.ask(answer)
    assert found.state == "wrong" and "cosine" in found.said, found.said


@pytest.mark.parametrize(
    ("same", "other", "right"), [(0.7, 0.05, True), (0.25, 0.05, False), (0.7, 0.3, False), (0.7, None, False)]
)
def test_one_person_is_told_from_another_by_both_limits(same, other, right, tmp_path, monkeypatch, shared: Path):
    def turned(cosine: float | None) -> np.ndarray:
        return np.zeros(2) if cosine is None else np.array([cosine, (1 - cosine**2) ** 0.5])

    faces = iter([turned(1.0), turned(same), turned(other)])
    monkeypatch.setattr(release_sample, "_embedding", lambda frame: next(faces))
    assert release_sample.identity(sample(tmp_path, shared))[0] is right


@pytest.mark.parametrize(
    ("own", "moved", "right"),
    [((0, 7.9, 6.1), 1.2, True), ((3, 7.9, 6.1), 1.2, False), ((0, 9.9, 2.5), 1.2, False), ((0, 7.9, 6.1), 6.4, False)],
)
def test_a_video_in_time_with_its_sound_is_told_from_others(own, moved, right, tmp_path, monkeypatch, shared: Path):
    found = iter([own, (9, 12.0, moved)])
    monkeypatch.setattr(release_sample, "_judge", lambda clip: next(found))
    assert release_sample.sync(sample(tmp_path, shared))[0] is right


@pytest.mark.slow
def test_random_weights_do_not_hear_the_release_sample(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    answer = next(one for one in answers.ANSWERS if one.weights == ("syncnet-v2", "s3fd-sfd-face"))
    for name in answer.weights:
        weights.fabricate(name)
    sample(answers.inputs_dir(), shared)
    assert answers.ask(answer).state == "wrong"


def test_the_jaw_of_the_published_video_follows_its_own_sound_only(shared: Path):
    """The trained model's one public video passes, 6 s of it; with the sound of other seconds it does not."""
    from floatbench.media.clip import read_clip
    from floatbench.metrics.landmarker import FaceLandmarker
    from floatbench.types import ClipMedia

    clip = read_clip(shared / "data/real/video/float/sam_altman_result.mp4")
    model = shared / "data/models/face_landmarker_v2_with_blendshapes.task"
    features = FaceLandmarker(model).extract(ClipMedia(clip.frames[: release_sample.FRAMES]))
    assert clip.audio is not None
    samples = release_sample.FRAMES * 640
    right, said = release_sample.mouth_follows(features, clip.audio[:samples])
    assert right and "p = 0.0" in said, said
    assert not release_sample.mouth_follows(features, clip.audio[samples : 2 * samples])[0]
    features["found"][: len(features["found"]) // 2] = False
    assert release_sample.mouth_follows(features, clip.audio[:samples]) == (False, "a face in 50% of the frames")


def test_a_random_network_makes_no_face_of_the_release_sample(
    shared: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    """A small network with random weights stands for the official one with random weights, which takes minutes."""
    from floatbench.sampling.animator import Animator

    load, model = Animator.from_pretrained, shared / "data/models/face_landmarker_v2_with_blendshapes.task"
    monkeypatch.setattr(Animator, "from_pretrained", lambda name: load(checkpoint))
    monkeypatch.setattr(weights, "available", lambda name: True)
    monkeypatch.setattr(weights, "path", lambda name: model)
    folder = sample(answers.inputs_dir(), shared)
    (folder / "aud-sample-vs-1.wav").symlink_to(shared / "data/real/audio/float/aud-sample-vs-1.wav")
    found = answers.ask(next(one for one in answers.ANSWERS if one.weights[0] == "float"))
    assert found.state == "wrong" and found.said == "a face in 0% of the frames", found.said
