"""Load time, seconds a frame and peak memory of the baselines in finished runs, as lines of results/baselines.csv.

    python benchmarks/baseline_rows.py RUN [RUN ...] [--how WORDS]

The numbers are those that the workers recorded in rows.jsonl while they made the clips: nothing is run here. The first
clip of a worker is slower (caches, compilation), so the quickest one is given. On a busy machine they are upper bounds.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from floatbench.engine.records import Row, RowFile, RunInfo
from floatbench.records import read_record

COLUMNS: tuple[str, ...] = (
    "method", "profile", "random_weights", "parameters_m", "clips", "frames", "frame_px", "load_s", "seconds_per_frame",
    "peak_ram_mb", "peak_vram_mb", "torch", "device", "how",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--how", default="recorded by the workers of `floatbench run`")
    given = parser.parse_args()
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in given.runs:
        info = read_record(run / "run.json", RunInfo)
        rows = [row for row in RowFile(run / "rows.jsonl").read().values() if row.status == "ok"]
        for name, described in info.methods.items():
            mine = [row for row in rows if row.method == name and "driver_s" in row.details]
            if mine:
                writer.writerow(line(name, described, mine) | {"how": given.how})


def line(name: str, described: dict[str, object], rows: list[Row]) -> dict[str, object]:
    """One line: the quickest clip's seconds a frame, the largest peaks."""
    details = [row.details for row in rows]
    memory = [found.get("memory", {}) for found in details]
    vram = max((found.get("vram_mb", 0) for found in memory), default=0)
    return {
        "method": name,
        "profile": described.get("profile", ""),
        "random_weights": bool(described.get("fabricated")),
        "parameters_m": round(sum(details[0].get("parameters", {}).values()) / 1e6, 1),
        "clips": len(rows),
        "frames": max(row.n_frames for row in rows),
        "frame_px": rows[0].width,
        "load_s": max(found["load_s"] for found in details),
        "seconds_per_frame": round(min(d["driver_s"] / d["native"]["frames"] for d in details), 3),
        "peak_ram_mb": round(max(found.get("ram_mb", 0) for found in memory)),
        "peak_vram_mb": round(vram) if vram else "",
        "torch": details[0].get("versions", {}).get("torch", ""),
        "device": details[0].get("versions", {}).get("device_name", "CPU, one thread"),
    }


if __name__ == "__main__":
    main()
