"""What `gpu_day.py` measures: one generator of rows for each step. A row is a flat dictionary of JSON types."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator

from gpu_shared import Day, Row
from gpu_speed import batches, blurs, compiling, first_frame, frames, memory, release, roofline, training
from gpu_truth import backbones, parity, tests

STEPS: dict[str, tuple[Callable[[Day], Iterator[Row]], int]] = {
    "tests": (tests, 90),
    "parity": (parity, 90),
    "frames": (frames, 120),
    "release": (release, 150),
    "backbones": (backbones, 100),
    "training": (training, 120),
    "first-frame": (first_frame, 45),
    "memory": (memory, 60),
    "batches": (batches, 60),
    "roofline": (roofline, 40),
    "blurs": (blurs, 40),
    "compiled": (compiling, 240),
}
"""Step -> its rows, and the seconds it may take; in order of worth."""


def main() -> None:
    """Runs the named steps in this process and prints an event a line, for the parent that watches the time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", default="")
    given = parser.parse_args()
    for event in run(given.steps.split(","), Day(given.device, weights=given.weights)):
        print(json.dumps(event), flush=True)


def run(names: list[str], day: Day) -> Iterator[Row]:
    """Events: beginning, rows and end of each step; one that fails ends with its error, and the next one follows."""
    for name in names:
        yield {"event": "begin", "step": name}
        error = ""
        try:
            for row in STEPS[name][0](day):
                yield {"event": "row", "step": name, "row": row}
        except Exception as caught:  # whatever a first contact with a device raises
            error = f"{type(caught).__name__}: {str(caught).strip()[:300]}"
        yield {"event": "end", "step": name, "error": error}


if __name__ == "__main__":
    main()
