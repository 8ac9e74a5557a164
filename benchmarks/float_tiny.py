"""What float-tiny does on held-out synthetic people: the metrics of its model card.

    python benchmarks/float_tiny.py [--weights float-tiny] [--people 12] [--sheet FILE.png] [--json]

Nobody drawn here is among the people it was trained on (numbers 80,000 on) or among those of the protocols (90,000 on).
`--weights` also takes a file that `floatbench train flow` wrote. `--sheet` also draws the true frames of six people
above the generated ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from floatbench.media import write_image
from floatbench.sampling.loading import card_of, load_model
from floatbench.training.held_out import held_out_people, measure_held_out, spoken_frames


def draw_sheet(weights: str, people: int, path: Path) -> None:
    """Twelve moments of every person: true frames, then generated ones."""
    model, rows = load_model(weights)[0], []
    for subject in held_out_people(model, people, card_of(weights).preset()):
        at = np.linspace(0, len(subject.frames) - 1, 12).round().astype(int)
        rows += [np.concatenate(list(frames[at]), 1) for frames in (subject.frames, spoken_frames(model, subject))]
    write_image(path, np.ascontiguousarray(np.concatenate(rows)))


def main() -> None:
    """Prints a line a metric, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="float-tiny")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure_held_out(options.weights, options.people)
    if options.sheet:
        draw_sheet(options.weights, min(options.people, 6), options.sheet)
    if options.json:
        print(json.dumps(found, indent=2, default=float))
        return
    for name, value in found.items():
        print(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")


if __name__ == "__main__":
    main()
