"""Baselines outside a run: one clip for `baseline check` and `baseline run`, two profiles for `baseline certify`."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.baselines import certify
from floatbench.baselines import manifest as manifests
from floatbench.baselines.installed import resolve
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods.baseline import BaselineMethod
from floatbench.methods.baseline_files import resample_index
from floatbench.methods.method import MAX_LENGTH_DIFFERENCE, ClipRequest
from floatbench.methods.source_video import asks, played, still
from floatbench.progress import Progress
from floatbench.seeds import derive_seed
from floatbench.types import FPS, SAMPLES_PER_FRAME

PORTRAIT_SIZE = 512


@dataclass(frozen=True)
class Made:
    """One clip of a baseline: frames as decoded, seconds, and what the worker told about itself."""

    frames: np.ndarray
    details: dict[str, Any]
    timing: dict[str, float]
    ready: dict[str, Any]
    start_s: float
    clip_s: float


def portrait(n_frames: int, size: int = PORTRAIT_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A drawn face (size, size, 3) uint8 and n_frames * 640 samples of its voice: the bundled input of `check`."""
    from floatbench.synthetic.clip import synthetic_clips

    clip = next(iter(synthetic_clips(identities=1, per_identity=1, seconds=max(n_frames / FPS, 1.0), seed=0)))
    picture = clip.frames(size, every=clip.n_frames)[0]
    return np.ascontiguousarray(picture), clip.audio()[: n_frames * SAMPLES_PER_FRAME]


def picture_and_sound(image: Path | None, audio: Path | None, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The drawn face and its voice, or files of one's own: some detectors do not take a drawing for a face.

    Raises UsageError when only one of the two files is given, DataError for a sound shorter than the clip.
    """
    if image is None and audio is None:
        return portrait(n_frames)
    if image is None or audio is None:
        raise UsageError("--image and --audio go together")
    from floatbench.media import read_audio, read_image

    picture, sound = read_image(image), read_audio(audio)[: n_frames * SAMPLES_PER_FRAME]
    if len(sound) < n_frames * SAMPLES_PER_FRAME:
        raise DataError(f"{audio} is shorter than {n_frames} frames", fix=f"--frames {len(sound) // SAMPLES_PER_FRAME}")
    return picture, sound


def picture_or_video(method: BaselineMethod, image: Path | None, video: Path | None) -> np.ndarray:
    """(T, H, W, 3) uint8 at 25 frames a second: one picture, or a video for a system that needs one.

    Raises UsageError unless exactly one file is given that the system can use.
    """
    from floatbench.media import read_image, read_video

    if video is not None and not asks(method):
        raise UsageError(f"{method.name} animates a picture", fix="--image face.png in place of --video")
    if (image is None) == (video is None):
        raise UsageError(f"{method.name}: one picture or one video is wanted", fix="--image face.png")
    if video is None:
        assert image is not None
        return read_image(image)[None]
    frames, fps = read_video(video, "pp2")
    return frames[resample_index(len(frames), fps)]


def make_clip(
    method: BaselineMethod,
    picture: np.ndarray,
    audio: np.ndarray,
    seed: int,
    device: str,
    keep: Path | None = None,
    video: np.ndarray | None = None,
) -> Made:
    """Loads, makes one clip and closes; `keep` receives the video as the method handed it over.

    A system that needs a source video is given `video` (T, H, W, 3), else the picture as a still.

    Raises ClipError with the system's reason, and what `BaselineMethod.load` raises.
    """
    from floatbench.media import read_video

    n_frames = len(audio) // SAMPLES_PER_FRAME
    with tempfile.TemporaryDirectory() as folder:
        given = still(picture, n_frames) if video is None else played(video, n_frames)
        request = ClipRequest(
            "check", "check", picture, audio, n_frames, seed, Path(folder), source_video=given if asks(method) else None
        )
        try:
            begin = time.perf_counter()
            method.load(device)
            started = time.perf_counter()
            made = method.generate(request)
            clip_s = time.perf_counter() - started
            ready = dict(method.ready)
        finally:
            method.close()
        assert made.video is not None
        frames, _ = read_video(made.video)
        if abs(len(frames) - n_frames) > MAX_LENGTH_DIFFERENCE:
            raise ClipError("length_mismatch", f"{len(frames)} frames for {n_frames}")
        if keep is not None:
            shutil.copyfile(made.video, keep)
    return Made(frames, dict(made.details), dict(made.timing), ready, started - begin, clip_s)


def certify_profiles(
    name: str,
    profiles: tuple[str, str],
    preset: str,
    device: str,
    inputs: tuple[np.ndarray, np.ndarray],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Runs two installed profiles on the same weights, picture, sound and seed; returns the certificate.

    Raises UsageError when the two were installed with different weights: a certificate compares environments.
    """
    manifest = manifests.load(name)
    found = [resolve(manifest, device, preset, profile) for profile in profiles]
    if found[0].weights != found[1].weights:
        raise UsageError(
            f"{name}: the profiles use different weights ({found[0].weights.name}, {found[1].weights.name})",
            fix=f"floatbench baseline install {name} --profile {profiles[1]} --weights {found[0].weights}",
        )
    picture, audio = inputs
    n_frames = len(audio) // SAMPLES_PER_FRAME
    clip_seed = derive_seed(seed, "certify")
    clips = []
    for profile in profiles:
        progress.note(f"{name}: {profile} profile, {n_frames} frames")
        clips.append(make_clip(BaselineMethod(name, preset, profile), picture, audio, clip_seed, device))
    sides = [
        {
            "profile": profile,
            "lock_sha256": manifests.file_sha256(manifest.folder / manifest.profile(profile).lock),
            "python": clip.ready.get("python"),
            "torch": clip.ready.get("torch"),
            "pixels_sha256": certify.digest(clip.frames),
        }
        for profile, clip in zip(profiles, clips, strict=True)
    ]
    what = {"preset": preset, "device": device, "n_frames": n_frames, "seed": seed, "commit": manifest.source.commit}
    what["picture_and_sound_sha256"] = hashlib.sha256(picture.tobytes() + audio.tobytes()).hexdigest()
    difference = certify.compare(clips[0].frames, clips[1].frames)
    return certify.certificate(name, sides, what, difference, found[0].fabricated is not None)
