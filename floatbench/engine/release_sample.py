"""Questions about the sample of the FLOAT release: its picture, its sound, and the video that it made of them.

They are the only public output of the trained model, so they are what real weights can be tried on. Each function
takes the folder that holds the files and gives whether the answer is right, and what it was.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from floatbench.data.float_sample import ADDRESS
from floatbench.errors import DependencyError
from floatbench.types import ClipMedia, Features

SAME, OTHER = 0.28, 0.2
"""Cosines above which InsightFace's demonstration calls two faces one person, and below which two."""
TALKING = 3.0
"""SyncNet confidence below which LatentSync's data pipeline drops a video of a talking head."""
FRAMES = 150
"""Six seconds: the shortest part of the published video in which the jaw's fit to the sound is no chance."""
FOUND = 0.95
CHANCE = 0.05


def files(*names: str) -> dict[str, str]:
    """Addresses of some of the release's files, by name."""
    return {name: f"{ADDRESS}/{name}" for name in names}


def astronaut() -> np.ndarray:
    """scikit-image's picture of Eileen Collins, (512, 512, 3) uint8."""
    try:
        from skimage.data import astronaut as picture
    except ImportError as error:
        raise DependencyError("the picture is scikit-image's", fix="pip install 'floatbench[metrics]'") from error
    return np.ascontiguousarray(picture())


def _embedding(frame: np.ndarray) -> np.ndarray:
    """(512,) of the largest face of one picture; zeros when none is found."""
    from floatbench.metrics.arcface import ArcFaceOnnx

    features = ArcFaceOnnx(batch=1).extract(ClipMedia(frame[None]))
    return features["embeddings"][0]


def identity(folder: Path) -> tuple[bool, str]:
    """The picture and the middle of its video show one person, the astronaut another."""
    from floatbench.media.clip import read_clip
    from floatbench.media.image import read_image
    from floatbench.metrics.csim import cosines

    frames = read_clip(folder / "sam_altman_result.mp4").frames
    person, again, other = (
        _embedding(frame) for frame in (read_image(folder / "sam_altman.webp"), frames[len(frames) // 2], astronaut())
    )
    same, different = (float(cosines(person[None], face)[0]) for face in (again, other))
    right = same > SAME and different < OTHER and bool(np.any(other))
    return right, f"cosine {same:.3f} with the person's video, {different:.3f} with the astronaut"


def sync(folder: Path) -> tuple[bool, str]:
    """SyncNet finds the published video's mouth in time with its sound, and out of time with the sound turned."""
    from floatbench.media.clip import read_clip

    clip = read_clip(folder / "sam_altman_result.mp4")
    if clip.audio is None:
        return False, "the video has no sound"
    offset, distance, confidence = _judge(clip)
    _, _, moved = _judge(ClipMedia(clip.frames, np.roll(clip.audio, len(clip.audio) // 2)))
    right = abs(offset) <= 1 and confidence > TALKING and confidence > moved
    said = f"offset {offset}, distance {distance:.3f}, confidence {confidence:.3f} ({moved:.3f} with the sound moved)"
    return right, said


def _judge(clip: ClipMedia) -> tuple[int, float, float]:
    """Offset in frames, LSE-D and LSE-C of a clip."""
    from floatbench.metrics import lse, syncnet

    lips, sound, _ = lse.aligned(lse.LipEmbeddings("direct").extract(clip), lse.SoundEmbeddings().extract(clip))
    found = syncnet.judge(syncnet.distances(lips, sound))
    return found.offset, found.distance, found.confidence


def speaks(folder: Path) -> tuple[bool, str]:
    """FLOAT makes of the picture and the sound a face with a mouth that moves with the sound."""
    from floatbench.media import read_audio, read_image
    from floatbench.metrics.landmarker import FaceLandmarker
    from floatbench.sampling.animator import Animator
    from floatbench.sampling.options import SamplingOptions
    from floatbench.sampling.picture import whole_picture
    from floatbench.types import SAMPLES_PER_FRAME

    model = Animator.from_pretrained("float")
    options = SamplingOptions()
    picture, _ = whole_picture(read_image(folder / "sam_altman.webp"), model.size, options.crop_filter)
    pcm = read_audio(folder / "aud-sample-vs-1.wav")[: FRAMES * SAMPLES_PER_FRAME]
    frames = np.stack(list(model.play(picture, pcm, options=options)))
    return mouth_follows(FaceLandmarker().extract(ClipMedia(frames)), pcm)


def mouth_follows(features: Features, pcm: np.ndarray) -> tuple[bool, str]:
    """Whether a face is nearly always found and its jaw fits the sound better than the sound turned in a circle."""
    from floatbench.metrics.avcorr import envelope, jaw_signal, lagged_correlations, null_best

    found = features["found"].astype(bool)
    share = float(found.mean())
    if share < FOUND:
        return False, f"a face in {share:.0%} of the frames"
    face, sound = jaw_signal(features), envelope(pcm)
    best = float(np.nanmax(lagged_correlations(face, sound, found)))
    null = null_best(face, sound, found)
    chance = float((1 + (null >= best).sum()) / (1 + len(null)))
    return chance < CHANCE, f"a face in {share:.0%} of the frames, jaw and loudness r = {best:.3f}, p = {chance:.3f}"
