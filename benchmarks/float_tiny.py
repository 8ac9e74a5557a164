"""What float-tiny does on held-out synthetic people: the figures of its model card.

    python benchmarks/float_tiny.py [--weights float-tiny] [--people 12] [--sheet FILE.png] [--json]

Nobody drawn here is among the people it was trained on (numbers 80,000 on) or among those of the protocols (90,000 on).
`--sheet` also draws every person's true frames above the generated ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from floatbench.files import file_sha256
from floatbench.media import write_image
from floatbench.metrics.tiny import FrameBackbone, IdentityBackbone
from floatbench.model.checkpoint import read_metadata
from floatbench.progress import NullProgress
from floatbench.sampling.loading import checkpoint_file, load_model
from floatbench.synthetic.clip import SyntheticClip
from floatbench.training.configs import CONFIGS
from floatbench.training.held_out import (
    Subject,
    control_figures,
    decoded,
    emotion_figures,
    head_figures,
    picture_figures,
    speech_figures,
    spoken,
    subjects,
)
from floatbench.training.recogniser import draw_sounds, recognised
from floatbench.types import ClipMedia

FIRST = 80_000


def identity_figures(model: Any, people: list[Subject]) -> dict[str, float]:
    """Cosine of the bundled identity network between a person's source and generated frames, and to another person."""
    network = IdentityBackbone()
    network.load()

    def embedded(frames: np.ndarray) -> np.ndarray:
        found = network.extract(ClipMedia(frames, np.zeros(640 * len(frames), np.int16)))["embeddings"]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    sources = [embedded(subject.frames[:1])[0] for subject in people]
    made = [embedded(_frames(model, subject)[::5]) for subject in people]
    own = [float((rows @ source).mean()) for rows, source in zip(made, sources, strict=True)]
    other = [float((rows @ sources[(i + 1) % len(people)]).mean()) for i, rows in enumerate(made)]
    true = [float((embedded(s.frames[::5]) @ source).mean()) for s, source in zip(people, sources, strict=True)]
    rows = {"csim_tiny": own, "csim_tiny_other": other, "csim_tiny_true": true}
    return {name: float(np.mean(values)) for name, values in rows.items()}


def hearing_figures(model: Any, people: int = 100) -> dict[str, float]:
    """What the emotion recogniser hears in the sound of people that it never met; chance is 0.14 and 1.95."""
    sounds = draw_sounds(CONFIGS["float-tiny"], range(FIRST, FIRST + people), NullProgress())
    return {f"heard_{name}": value for name, value in recognised(model.emotion_encoder, sounds).items()}


def _frames(model: Any, subject: Subject) -> np.ndarray:
    made = decoded(model, subject, spoken(model, subject, subject.audio))
    return ((made.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()


def draw_sheet(model: Any, people: list[Subject], path: Path) -> None:
    """Twelve moments of every person: true frames, then generated ones."""
    rows = []
    for subject in people:
        at = np.linspace(0, len(subject.frames) - 1, 12).round().astype(int)
        rows += [np.concatenate(list(frames[at]), 1) for frames in (subject.frames, _frames(model, subject))]
    write_image(path, np.ascontiguousarray(np.concatenate(rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="float-tiny")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = load_model(options.weights)[0]
    file = checkpoint_file(options.weights)
    notes = json.loads(read_metadata(file).notes or "{}")
    gain = float(notes.get("coefficients", {"gain": 1.0})["gain"])
    reader = FrameBackbone()
    reader.load()
    torch.manual_seed(0)
    people = subjects(model, [SyntheticClip(FIRST + i, 0, 4.0, 1) for i in range(options.people)])
    figures: dict[str, Any] = {"weights": file_sha256(file), "bytes": file.stat().st_size, "people": len(people)}
    figures |= picture_figures(model, people, gain) | speech_figures(model, people, reader)
    figures |= head_figures(model, people, gain) | emotion_figures(model, people, gain)
    figures |= control_figures(model, people, reader, gain) | identity_figures(model, people)
    figures |= hearing_figures(model)
    if options.sheet:
        draw_sheet(model, people[:6], options.sheet)
    if options.json:
        print(json.dumps(figures, indent=2, default=float))
        return
    for name, value in figures.items():
        print(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")


if __name__ == "__main__":
    main()
