"""What the small backbones learn from: rendered faces as arrays, and the config that decides everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from floatbench.metrics import tiny_networks as tiny
from floatbench.metrics.tiny import read_poses
from floatbench.processes import in_order
from floatbench.progress import Progress
from floatbench.seeds import derive_seed
from floatbench.settings import Count, Positive, Whole, settings
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import EXPRESSION
from floatbench.synthetic.phones import ARTICULATORS
from floatbench.synthetic.stills import random_stills

SPEAKERS = 10_000
"""First of the people who give a clip; those who give single pictures start at 0."""
HELD_OUT = 70_000
"""Added to both for the people that the metrics in the manifest are measured on."""
STATES = [EXPRESSION.index(name) for name in ARTICULATORS]


AtLeastTwo = Annotated[int, Field(ge=2)]
People = Annotated[int, Field(ge=2, le=SPEAKERS)]
Seconds = Annotated[float, Field(ge=1, allow_inf_nan=False)]


@settings
class BackboneConfig:
    """Everything that decides the bundled backbones.

    Attributes:
        people, stills: identities with random single pictures in random scenery, and pictures of each.
        speakers, seconds: identities with one talking clip each, and its length.
        expression_people, expression_stills: the same as `people` and `stills` for the network that reads expressions:
            a face is harder to read than a person is to tell, so that it needs more of them.
        held_out, held_out_seconds: identities for those metrics, of whom as many give single pictures as give a clip,
            and the length of that clip; it is that of protocol `synthetic`.
        size: side of the rendered pictures.
        steps: optimiser steps of each network.
    """

    people: People = 800
    stills: AtLeastTwo = 6
    speakers: People = 128
    seconds: Seconds = 2.4
    expression_people: People = 5_000
    expression_stills: AtLeastTwo = 3
    held_out: AtLeastTwo = 32
    held_out_seconds: Seconds = 4.0
    size: Count = 128
    batch: Count = 64
    frame_steps: Count = 1500
    expression_steps: Count = 3_000
    identity_steps: Count = 1000
    clip_steps: Count = 600
    sync_steps: Count = 1600
    rate: Positive = 2e-3
    seed: Whole = 1


EVERY = 6
"""Of a talking clip, every so many frames show a face that is new enough for the network that reads expressions."""
POSE_ERROR = np.array([0.07, 0.045, 0.033, 0.015, 0.02, 0.08])
"""Spread of what `tiny-frames` misses of the pose of people it never saw: as far off is the pose by which the faces
of the training are unwrapped."""


@dataclass
class ExpressionFaces:
    """Faces to be read.

    Attributes:
        eyes: (N, 40, 88, 3) and mouth: (N, 64, 64, 3) uint8, unwrapped. expression: (N, E).
        still: (N,) bool, False for frames of talking clips.
    """

    eyes: np.ndarray
    mouth: np.ndarray
    expression: np.ndarray
    still: np.ndarray


def make_expressions(
    config: BackboneConfig, progress: Progress, workers: int = 1, frames: tiny.FrameNetwork | None = None
) -> ExpressionFaces:
    """Renders what the expression network learns from, or with `frames`, which reads the pose, held-out people."""
    held_out = frames is not None
    first = HELD_OUT if held_out else 0
    counts = (config.held_out,) * 2 if held_out else (config.expression_people, config.speakers)
    config = replace(
        config,
        seconds=config.held_out_seconds if held_out else config.seconds,
        expression_stills=config.stills if held_out else config.expression_stills,
    )
    people = [(first + i, True) for i in range(counts[0])] + [(first + SPEAKERS + i, False) for i in range(counts[1])]
    parts: list[tuple[np.ndarray, ...]] = []
    with progress.task("expressions", len(people), "person") as task:
        for part in in_order(partial(_one_face, config, frames), people, workers, "draws faces"):
            parts.append(part)
            task.advance()
    still = np.repeat([still for _, still in people], [len(expression) for _, _, expression in parts])
    eyes, mouth, expression = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ExpressionFaces(eyes, mouth, expression, still)


def _one_face(
    config: BackboneConfig, frames: tiny.FrameNetwork | None, person: tuple[int, bool]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eyes, mouths and expressions of one person's pictures."""
    number, still = person
    if still:
        pictures, truth = random_stills(number, config.expression_stills, config.size, config.seed)
        pose, expression = truth["pose"], truth["expression"]
    else:
        clip = SyntheticClip(number, 0, config.seconds, config.seed)
        pictures = clip.frames(config.size, every=EVERY)
        pose, expression = clip.pose[::EVERY], clip.expression[::EVERY]
    if frames is not None:
        pose = read_poses(frames, pictures)
    else:
        rng = np.random.Generator(np.random.PCG64(derive_seed(config.seed, f"backbones/syn-{number}/pose")))
        pose = pose + rng.normal(size=pose.shape) * POSE_ERROR
    return *tiny.face_parts(pictures, pose), expression


@dataclass
class RenderedFaces:
    """Rendered training material, everything as arrays.

    Attributes:
        frames: (N, 80, 80, 3) and faces (N, 64, 64, 3) uint8; person (N,) class numbers; traits, pose, expression.
        emotion: (N,) or -1 where a still has none.
        clips: per speaker the slice of its frames; lips (T, 40, 56) and mel (26, columns) per speaker.
    """

    frames: np.ndarray
    faces: np.ndarray
    person: np.ndarray
    traits: np.ndarray
    pose: np.ndarray
    expression: np.ndarray
    emotion: np.ndarray
    clips: list[slice]
    lips: list[np.ndarray]
    mel: list[np.ndarray]


def make_faces(config: BackboneConfig, progress: Progress, workers: int = 1, held_out: bool = False) -> RenderedFaces:
    """Renders the single pictures and the clips of training, or those of held-out people (`held_out`).

    The number of worker processes changes nothing but the time.
    """
    people, speakers = (config.held_out,) * 2 if held_out else (config.people, config.speakers)
    first = HELD_OUT if held_out else 0
    config = replace(config, seconds=config.held_out_seconds) if held_out else config
    stills = [(first + i, True) for i in range(people)]
    talking = [(first + SPEAKERS + i, False) for i in range(speakers)]
    parts = []
    with progress.task("faces", people + speakers, "person") as task:
        for part in in_order(partial(_one_person, config), stills + talking, workers, "draws faces"):
            parts.append(part)
            task.advance()
    person = np.repeat(np.arange(len(parts)), [len(p["pose"]) for p in parts])
    ends = np.cumsum([len(p["pose"]) for p in parts])
    clips = [slice(int(e) - len(p["pose"]), int(e)) for e, p in zip(ends, parts, strict=True) if "lips" in p]
    columns = {key: np.concatenate([p[key] for p in parts]) for key in _COLUMNS}
    lips, mel = ([p[key] for p in parts if key in p] for key in ("lips", "mel"))
    return RenderedFaces(**columns, person=person, clips=clips, lips=lips, mel=mel)


_COLUMNS = ("frames", "faces", "traits", "pose", "expression", "emotion")


def _one_person(config: BackboneConfig, person: tuple[int, bool]) -> dict[str, np.ndarray]:
    """The rows of one person: single pictures, or the frames of one clip with lips and sound.

    Args:
        person: number, and whether single pictures are meant.
    """
    number, still = person
    extra: dict[str, np.ndarray] = {}
    if still:
        pictures, truth = random_stills(number, config.stills, config.size, config.seed)
        emotion = -1
    else:
        clip = SyntheticClip(number, 0, config.seconds, config.seed)
        pictures, truth = clip.frames(config.size), clip.truth()
        emotion = int(truth["emotion"])
        extra = {"lips": tiny.lip_input(pictures), "mel": tiny.log_mel(clip.audio())}
    n = len(pictures)
    return extra | {
        "frames": tiny.frame_pixels(pictures),
        "faces": tiny.face_pixels(pictures),
        "traits": truth["identity"] if still else np.repeat(truth["identity"][None], n, 0),
        "pose": truth["pose"],
        "expression": truth["expression"],
        "emotion": np.full(n, emotion),
    }
