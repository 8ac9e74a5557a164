"""One command for the first machine with a GPU: what FLOAT and the metrics do there, in nine minutes at most.

    python benchmarks/gpu_day.py --out gpu-day            # again: carries on with what is missing
    python benchmarks/gpu_day.py --out gpu-day --again frames,parity
    python benchmarks/gpu_day.py --out small --device cpu --small

Steps in order of worth: the tests that need a GPU; every stage and backbone on the CPU against the device; frames a
second of the release (where its clone is given, see official_float.py) and of ours; metrics; training of both phases
with the projection to the paper's steps; first frame; memory by length; batches; the share of the roofline; both blurs;
compiled networks. Everything goes into gpu-day.json and gpu-day.md of the folder after each step. A step that took too
long or was cut off is done again by the next call; one that failed says why, and `--again` repeats it. Weights are
seeded random ones unless `--weights` names a model: they cost the same.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gpu_steps
import torch

from floatbench.device import pick_device
from floatbench.engine.environment import environment
from floatbench.errors import FloatbenchError
from floatbench.files import write_bytes, write_json
from floatbench.speed.machine import gpu_sampler, machine

VERSION = 1
STARTS = 20.0
"""Seconds that a process needs before its first step; they count for none."""
Document = dict[str, Any]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the two files")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", default="", help="a model's name or file, instead of random weights")
    parser.add_argument("--minutes", type=float, default=9.0, help="stop by then; the next call carries on")
    parser.add_argument("--steps", default=",".join(gpu_steps.STEPS), help="comma separated")
    parser.add_argument("--again", default="", help="steps to repeat, comma separated")
    parser.add_argument("--small", action="store_true", help="a small model, seconds: to see that the command works")
    given = parser.parse_args(arguments)
    for name in filter(None, (*given.steps.split(","), *given.again.split(","))):
        if name not in gpu_steps.STEPS:
            parser.error(f"unknown step {name!r}; there are {', '.join(gpu_steps.STEPS)}")
    return given


def opened(folder: Path, made_with: Document) -> Document:
    """The document of an earlier call on the same machine and commit, or a new one."""
    file = folder / "gpu-day.json"
    if file.is_file():
        kept = json.loads(file.read_text())
        if kept.get("version") == VERSION and kept["made_with"] == made_with:
            return kept
        raise SystemExit(f"{file} is of another machine, commit or form; give another --out")
    return {"kind": "floatbench-gpu-day", "version": VERSION, "made_with": made_with, "steps": {}}


def made_with(given: argparse.Namespace) -> Document:
    """What must be equal for rows to stand in one document."""
    facts = machine()
    found = {"environment": environment(given.device), "machine": facts, "small": given.small,
             "weights": given.weights or "seeded random"}  # fmt: skip
    index = torch.device(given.device).index or 0
    if given.device.startswith("cuda") and (sampler := gpu_sampler(index)) is not None:
        sampler.start()
        found["driver"] = sampler.stop().driver
    return found


def left(document: Document, steps: list[str], again: set[str]) -> list[str]:
    """The steps that are not finished, in order of worth."""
    return [name for name in steps if name in again or document["steps"].get(name, {}).get("state") not in DONE]


DONE = ("done", "failed")


def follow(document: Document, events: Iterator[Document], save: Any) -> None:
    """Enters events into the document, which is saved at the end of each step."""
    began = time.monotonic()
    for event in events:
        name = event["step"]
        if event["event"] == "begin":
            began = time.monotonic()
            document["steps"][name] = {"state": "cut off", "rows": []}
            print(f"{name} ...", flush=True)
            continue
        step = document["steps"][name]
        if event["event"] == "row":
            step["rows"] = [row for row in step["rows"] if not _earlier(row, event["row"])] + [event["row"]]
            continue
        step |= {"state": event.get("state", "failed" if event["error"] else "done"), "error": event["error"],
                 "seconds": round(time.monotonic() - began, 1)}  # fmt: skip
        print(f"{name}: {step['state']} in {step['seconds']:.0f} s {event['error']}".rstrip(), flush=True)
        save()


def _earlier(row: Document, newer: Document) -> bool:
    """Whether a row is the same one after fewer rounds: steps that count `rounds` tell their rows after each."""
    name = next(iter(newer))
    return "rounds" in newer and row.get(name) == newer[name]


def apart(names: list[str], given: argparse.Namespace, until: float) -> Iterator[Document]:
    """The steps' events from a process of their own, which is replaced when a step takes too long or ends it."""
    while names:
        command = [sys.executable, str(Path(gpu_steps.__file__)), ",".join(names), "--device", given.device]
        process = subprocess.Popen(
            [*command, "--weights", given.weights], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            finished = yield from _watched(process, names, until)
        finally:
            end(process)
        if time.monotonic() >= until:
            return
        names = names[finished:]


def end(process: subprocess.Popen[str]) -> None:
    """Kills a process that leads its session with all that it has started, so that nothing runs beside later steps."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _watched(process: subprocess.Popen[str], names: list[str], until: float) -> Iterator[Document]:
    """Events of a process until it ends or a limit is reached; returns how many of its steps are over."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    over, limit = 0, min(until, time.monotonic() + STARTS + gpu_steps.STEPS[names[0]][1])
    begun = ""
    while over < len(names):
        try:
            line = lines.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            if begun:
                yield {"event": "end", "step": begun, "error": "", "state": "too slow"}
            return over + 1
        if not line:  # the process is gone, and with it this step
            yield from _gone(begun or names[over], begun, process.wait())
            return over + 1
        event = json.loads(line)
        yield event
        if event["event"] == "begin":
            begun, limit = event["step"], min(until, time.monotonic() + gpu_steps.STEPS[event["step"]][1])
        elif event["event"] == "end":
            over, begun = over + 1, ""
            limit = min(until, time.monotonic() + STARTS)
    return over


def _gone(name: str, begun: str, code: int) -> Iterator[Document]:
    """The events of a step whose process ended."""
    if not begun:
        yield {"event": "begin", "step": name}
    yield {"event": "end", "step": name, "error": f"the process ended with {code}"}


def _read(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        if line.startswith('{"event"'):  # what libraries print is not ours
            lines.put(line)
    lines.put("")


def page(document: Document) -> str:
    """The document as Markdown: a table a step."""
    with_ = document["made_with"]
    env = with_["environment"]
    lines = [f"# {env['device']}", ""]
    lines.append(f"torch {env['packages'].get('torch')}, driver {with_.get('driver', 'unknown')}, CUDA "
                 f"{with_['machine'].get('cuda') or 'none'}, {with_['machine']['cpu']}, "
                 f"{with_['machine']['cores_usable']} cores; floatbench {env['floatbench']}, commit {env['commit']}"
                 f"{' and changes' if env['dirty'] else ''}; weights: {with_['weights']}.")  # fmt: skip
    if with_["small"]:
        lines += ["", "The small form: it shows that the command works, and nothing about speed."]
    for name, (step, _) in gpu_steps.STEPS.items():
        found = document["steps"].get(name)
        lines += ["", f"## {name}", "", (step.__doc__ or "").splitlines()[0]]
        if found is None:
            lines += ["", "Not run yet."]
            continue
        if found["state"] != "done":
            lines += ["", f"{found['state']}. {found.get('error', '')}".strip()]
        lines += table(found["rows"])
    return "\n".join(lines) + "\n"


def table(rows: list[Document]) -> list[str]:
    """Rows as a Markdown table, a column for each of their keys."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if not keys:
        return []
    lines = ["", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    for row in rows:
        lines.append("| " + " | ".join(shown(row.get(key, "")) for key in keys) + " |")
    return lines


def shown(value: Any) -> str:
    """A cell: four digits of a number, no pipe."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")


def main(arguments: list[str] | None = None) -> Document:
    """Runs what is missing; returns the document."""
    given = parse(arguments)
    until = time.monotonic() + 60 * given.minutes
    try:
        pick_device(given.device)
    except FloatbenchError as error:
        raise SystemExit(f"{error.what}; {error.fix}") from None
    document = opened(given.out, made_with(given))

    def save() -> None:
        write_json(given.out / "gpu-day.json", document)
        write_bytes(given.out / "gpu-day.md", page(document).encode())

    given.out.mkdir(parents=True, exist_ok=True)
    again = set(filter(None, given.again.split(",")))
    names = left(document, [name for name in gpu_steps.STEPS if name in given.steps.split(",") or name in again], again)
    if given.small:
        events = gpu_steps.run(names, gpu_steps.Day(given.device, small=True, weights=given.weights))
    else:
        events = apart(names, given, until)
    try:
        follow(document, events, save)
    finally:
        save()
    missing = left(document, given.steps.split(","), set())
    print(f"{given.out / 'gpu-day.md'}: {len(document['steps'])} steps" +
          (f"; call again for {', '.join(missing)}" if missing else ""))  # fmt: skip
    return document


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # which no longer reach the steps' own session
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    main()
