"""Known answers: what the public record says that the real weight files give, so that an arrival can be tried.

A hash shows that a file is the published one; an answer shows that it does here what it does elsewhere: network, order
of colours, scale, sound features. Random weights give none of these answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from floatbench import paths, weights
from floatbench.engine import release_sample
from floatbench.errors import DependencyError
from floatbench.text import now
from floatbench.weights import lockfile

State = Literal["ok", "wrong", "not tried"]


@dataclass(frozen=True)
class Answer:
    """One known answer.

    Attributes:
        weights: names of the files that give it together, the one it is filed under first.
        title: what is asked, and what the record says; source: where it says so.
        ask: gives whether the answer is right, and what it was, for the folder that holds the inputs.
        inputs: address of every file that the question needs, by the file's name.
    """

    weights: tuple[str, ...]
    title: str
    source: str
    ask: Callable[[Path], tuple[bool, str]]
    inputs: Mapping[str, str] = field(default_factory=dict)

    def absent(self) -> list[str]:
        """Names of the inputs that are not on this machine."""
        return [name for name in self.inputs if not (inputs_dir() / name).is_file()]


def inputs_dir() -> Path:
    """Where the inputs of all questions are looked for."""
    return paths.weights_dir() / "answers"


@dataclass(frozen=True)
class Outcome:
    """What came of asking: the state, what was said, and the command that mends it (empty when all is well)."""

    weights: str
    title: str
    state: State
    said: str
    fix: str = ""


def _constant_videos(name: str, frames: int) -> float:
    """The Frechet distance of black against white videos: all of a set are alike, so the squared distance of means."""
    import torch

    from floatbench.metrics.i3d import I3D, SIDE

    backbone = I3D(weights=name)
    backbone.load()
    assert backbone.network is not None
    video = torch.ones(1, 3, frames, SIDE, SIDE)
    with torch.inference_mode():
        black, white = (backbone.network(sign * video).double() for sign in (-1, 1))
    return float(((black - white) ** 2).sum())


def _fvd(name: str, expected: dict[int, float]) -> tuple[bool, str]:
    found = {frames: _constant_videos(name, frames) for frames in expected}
    right = all(abs(found[frames] - value) <= 1 for frames, value in expected.items())
    return right, ", ".join(f"{value:.2f} of {frames} frames" for frames, value in found.items())


def _example_of_syncnet(folder: Path) -> tuple[bool, str]:
    from floatbench.media.clip import read_clip
    from floatbench.metrics import lse, syncnet

    clip = read_clip(folder / "example.avi")
    lips, sound = lse.LipEmbeddings("wholeframe"), lse.SoundEmbeddings()
    windows, other, _ = lse.aligned(lips.extract(clip), sound.extract(clip))
    found = syncnet.judge(syncnet.distances(windows, other))
    # the reference reads the pictures through JPEG files, which moves both numbers in the second digit
    right = found.offset == 3 and abs(found.distance - 5.353) <= 0.2 and abs(found.confidence - 10.021) <= 0.4
    return right, f"offset {found.offset}, distance {found.distance:.3f}, confidence {found.confidence:.3f}"


def _dog(folder: Path) -> tuple[bool, str]:
    import torch
    from torchvision.models import VGG19_Weights, vgg19
    from torchvision.transforms.functional import to_tensor

    from floatbench.media.image import read_image

    with torch.device("meta"):  # 0.6 GB need not be there twice
        network = vgg19(weights=None)
    network.load_state_dict(weights.load_state_dict("vgg19"), assign=True)
    network.eval()
    shown = VGG19_Weights.IMAGENET1K_V1.transforms()(to_tensor(read_image(folder / "dog.jpg")))
    with torch.inference_mode():
        best = int(network(shown[None])[0].argmax())
    name = VGG19_Weights.IMAGENET1K_V1.meta["categories"][best]
    return name == "Samoyed", f"{name}"


FACE = (225.0, 117.0)  # pixels: the middle of the one face in scikit-image's picture of Eileen Collins
REACH = 40.0


def _one_face(boxes: Sequence[Sequence[float]]) -> tuple[bool, str]:
    """One face, in its place, of a head's size (x1 y1 x2 y2 in pixels)."""
    if len(boxes) != 1:
        return False, f"{len(boxes)} faces"
    left, top, right, bottom = boxes[0][:4]
    x, y, height = (left + right) / 2, (top + bottom) / 2, bottom - top
    right_place = abs(x - FACE[0]) <= REACH and abs(y - FACE[1]) <= REACH and 70 <= height <= 220
    return right_place, f"a face of {height:.0f} pixels at ({x:.0f}, {y:.0f})"


def _scrfd(_: Path) -> tuple[bool, str]:
    from floatbench.metrics import scrfd

    found = scrfd.shared_detector("cpu").detect(release_sample.astronaut())
    return _one_face([list(box) for box, score in zip(found.boxes, found.scores, strict=True) if score > 0.5])


def _sfd(_: Path) -> tuple[bool, str]:
    from floatbench.metrics import lse

    detector = lse.FaceDetector()
    detector.load()
    (found,) = detector.detect(release_sample.astronaut()[None])
    return _one_face([list(row[:4]) for row in found if row[4] > 0.9])


def _s3fd(_: Path) -> tuple[bool, str]:
    from floatbench.media.boxes_s3fd import S3fdBoxes

    boxes = S3fdBoxes()
    found = [hit.box for hit in boxes.detect(release_sample.astronaut(), 0) if hit.score > 0.9]
    boxes.close()
    return _one_face([list(box) for box in found])


_FVD = "JunyaoHu/common_metrics_on_video_quality at 5f751734ce9cef4cd2dddb235726b75dff62a387, README"
_COLLINS = "scikit-image's example picture: one face"
ANSWERS: tuple[Answer, ...] = (
    Answer(
        ("i3d-torchscript",),
        "FVD of black against white videos: 151.26 (30 frames), 152.92 (16 frames), within 1",
        _FVD,
        lambda _: _fvd("i3d-torchscript", {30: 151.2565, 16: 152.9175}),
    ),
    Answer(
        ("i3d-400",),
        "FVD of black against white videos: 151.39 (30 frames, the TensorFlow graph), within 1",
        _FVD,
        lambda _: _fvd("i3d-400", {30: 151.3924}),
    ),
    Answer(
        ("syncnet-v2",),
        "the example video: offset 3, distance 5.353, confidence 10.021",
        "joonson/syncnet_python at 6efbb1c305c23f47a62b09cf4215a8ac45e97d49, README",
        _example_of_syncnet,
        {"example.avi": "http://www.robots.ox.ac.uk/~vgg/software/lipsync/data/example.avi"},
    ),
    Answer(("scrfd-det-10g",), "one face in the picture of an astronaut", _COLLINS, _scrfd),
    Answer(("s3fd-sfd-face",), "one face in the picture of an astronaut", _COLLINS, _sfd),
    Answer(("s3fd-face-alignment",), "one face in the picture of an astronaut", _COLLINS, _s3fd),
    Answer(
        ("vgg19",),
        "the dog of torch hub is a Samoyed",
        "https://pytorch.org/hub/pytorch_vision_vgg",
        _dog,
        {"dog.jpg": "https://github.com/pytorch/hub/raw/master/images/dog.jpg"},
    ),
    Answer(
        ("arcface-w600k-r50", "scrfd-det-10g"),
        "one person in FLOAT's sample picture and video (cosine above 0.28), another in the astronaut's (below 0.2)",
        "deepinsight/insightface, web-demos/src_recognition: the limits of its demonstration for this network",
        release_sample.identity,
        release_sample.files("sam_altman.webp", "sam_altman_result.mp4"),
    ),
    Answer(
        ("syncnet-v2", "s3fd-sfd-face"),
        "FLOAT's sample video speaks its own sound: in time, confidence above 3 and above that of moved sound",
        "no figure of this clip is public; LatentSync (arXiv 2412.09262) drops talking heads below 3 from its data",
        release_sample.sync,
        release_sample.files("sam_altman_result.mp4"),
    ),
    Answer(
        ("float", "wav2vec2-base-960h", "wav2vec2-speech-emotion", "mediapipe-face-landmarker"),
        "FLOAT's sample picture and sound, 6 s: a face in 95 % of frames, a jaw that follows the sound (p < 0.05)",
        "the release's own sample; its published video of the same picture and sound gives p = 0.02",
        release_sample.speaks,
        release_sample.files("sam_altman.webp", "aud-sample-vs-1.wav"),
    ),
)


def of(names: Sequence[str]) -> list[Answer]:
    """The known answers of these weights, in the table's order."""
    return [answer for answer in ANSWERS if set(answer.weights) <= set(names)]


def ask(answer: Answer) -> Outcome:
    """Asks one question; weights that are absent or an input that is not here are no wrong answer.

    A right answer is noted in the lock file with the hash of the file that gave it.
    """
    name = answer.weights[0]
    if not all(weights.available(needed) for needed in answer.weights):
        return Outcome(name, answer.title, "not tried", "not on this machine", f"floatbench weights fetch {name}")
    if absent := answer.absent():
        gets = " && ".join(f"curl -L -o {inputs_dir() / file} {answer.inputs[file]}" for file in absent)
        said = f"its input {absent[0]} is not on this machine"
        return Outcome(name, answer.title, "not tried", said, f"mkdir -p {inputs_dir()} && {gets}")
    try:
        right, said = answer.ask(inputs_dir())
    except DependencyError:
        raise
    except Exception as error:  # other projects' loaders end in many ways at a file that is not theirs
        right, said = False, " ".join(str(error).partition("\nfix:")[0].split())[:200] or type(error).__name__
    if right and not weights.is_fabricated(name):
        lockfile.note_answer(name, f"{weights.sha256(name)} {answer.title}: {said} ({now()})")
    fix = "" if right else f"floatbench weights fetch --force {name}"
    return Outcome(name, answer.title, "ok" if right else "wrong", said, fix)


def tried(answer: Answer) -> bool:
    """True when the file that is here has given this answer before; its hash is part of the note."""
    name = answer.weights[0]
    known = lockfile.read().entries.get(name)
    start = f"{weights.sha256(name)} {answer.title}: "
    return known is not None and any(line.startswith(start) for line in known.answers)


def first_use(names: Iterable[str], note: Callable[[str], None]) -> None:
    """Asks files that have not been tried yet, and says what came of it; fabricated and absent ones are left alone.

    A wrong answer is said and stops nothing: the file has its hash, the machine or a library may be what differs.
    """
    for answer in of(list(names)):
        name = answer.weights[0]
        if not weights.available(name) or weights.is_fabricated(name) or tried(answer):
            continue
        try:
            found = ask(answer)
        except DependencyError as error:
            note(f"{name}: its known answer was not tried: {error.what}")
            continue
        note(f"{name}: known answer {found.state}: {found.title}; {found.said}")
