"""Do real portraits stay faces, and do their mouths open with the sound? float-tiny (or other weights) on your files.

    python benchmarks/real_portraits.py --portraits DIR --sounds DIR --task FILE [--weights float-tiny] [--json F]

Each portrait (cropped by MediaPipe) speaks three of the sounds, 4 s each from where a sound begins. MediaPipe's
blendshape `jawOpen` of every frame is correlated with the loudness of the portrait's own sound and with that of its
next one; of each the best of lags up to 6 frames. A portrait's difference is the mean of its three; p is that of a
t-test on portraits. FILE is MediaPipe's `face_landmarker_v2_with_blendshapes.task`. Only F is written.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp

from floatbench.animate.pipeline import FLOAT
from floatbench.errors import ClipError
from floatbench.media import read_audio, read_image
from floatbench.media.boxes_mediapipe import MediapipeBoxes
from floatbench.metrics.avcorr import envelope, jaw_signal, lagged_correlations
from floatbench.metrics.landmarker import close_landmarker, measure_face, open_landmarker, stack_measures
from floatbench.sampling.picture import crop_face
from floatbench.types import SAMPLE_RATE

SECONDS, SOUNDS, MAX_LAG = 4, 3, 6


def files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Files below a folder with one of these endings, by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)


def portraits(folder: Path, left_out: list[str], task: Path, model: FLOAT) -> dict[str, np.ndarray]:
    """Name to face crop, (R, R, 3) uint8; pictures without a face are named and left out."""
    found = {}
    with MediapipeBoxes(task) as boxes:
        for path in files(folder, (".jpg", ".jpeg", ".png", ".webp")):
            if path.name in left_out:
                continue
            try:
                found[path.name] = crop_face(read_image(path), boxes, model.size, model.choices.options.crop_face)[0]
            except ClipError as error:
                print(f"{path.name}: left out, {error}")
    return found


def best(jaw: np.ndarray, seen: np.ndarray, sound: np.ndarray) -> float:
    return float(np.nanmax(lagged_correlations(jaw, envelope(sound), seen, MAX_LAG)))


def measure(model: FLOAT, picture: np.ndarray, sounds: list[np.ndarray], landmarker: Any) -> dict[str, Any]:
    """One portrait with its sounds: correlations with the own sound and with another, and frames with a face."""
    rows = []
    for k, sound in enumerate(sounds):
        frames = list(model.stream(picture, sound, crop="none", audio_context="full"))
        measured = [measure_face(landmarker, np.ascontiguousarray(frame)) for frame in frames]
        seen = np.array([one is not None for one in measured])
        jaw, other = jaw_signal(stack_measures(measured)), sounds[(k + 1) % len(sounds)]
        rows.append((best(jaw, seen, sound), best(jaw, seen, other), int(seen.sum()), len(frames)))
    own, swapped, faces, frames = (np.array(column) for column in zip(*rows, strict=True))
    return {"own": own.tolist(), "another": swapped.tolist(), "faces": int(faces.sum()), "frames": int(frames.sum())}


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over all videos, and the test on the portraits' mean differences."""
    own, another = (np.array([row[side] for row in rows.values()]) for side in ("own", "another"))
    gain = (own - another).mean(1)
    return {
        "portraits": len(rows),
        "own": own.mean(),
        "another": another.mean(),
        "videos_higher": int((own > another).sum()),
        "videos": own.size,
        "portraits_higher": int((gain > 0).sum()),
        "standard_error": gain.std(ddof=1) / np.sqrt(len(gain)),
        "p": ttest_1samp(gain, 0).pvalue,
        "faces": sum(row["faces"] for row in rows.values()),
        "frames": sum(row["frames"] for row in rows.values()),
    }


def main() -> None:
    """Prints the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, required=True)
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="NAME", help="second pictures of a person, say")
    parser.add_argument("--weights", default="float-tiny")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model, landmarker, rows = FLOAT.from_pretrained(given.weights), open_landmarker(given.task), {}
    sounds = [read_audio(path)[: SECONDS * SAMPLE_RATE] for path in files(given.sounds, (".wav", ".mp3", ".m4a"))]
    sounds = [sound for sound in sounds if len(sound) == SECONDS * SAMPLE_RATE]
    for k, (name, picture) in enumerate(portraits(given.portraits, given.leave_out, given.task, model).items()):
        chosen = [sounds[(SOUNDS * k + i) % len(sounds)] for i in range(SOUNDS)]
        rows[name] = measure(model, picture, chosen, landmarker)
    close_landmarker(landmarker)
    found = summary(rows) | {"weights": given.weights, "rows": rows}
    if given.json:
        given.json.write_text(json.dumps(found, indent=2, default=float))
    print(json.dumps({key: value for key, value in found.items() if key != "rows"}, indent=2, default=float))


if __name__ == "__main__":
    main()
