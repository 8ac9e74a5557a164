"""`floatbench doctor`: is everything here, and which command mends what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output

MANY = {
    "weights": "floatbench weights list; floatbench weights fetch --for hdtf",
    "data": "floatbench protocol list; floatbench protocol fetch NAME",
    "baselines": "floatbench baseline list; floatbench baseline install NAME",
    "extras": "floatbench doctor --json",
}
"""What mends several notes of one kind."""

if TYPE_CHECKING:
    from floatbench.doctor import Finding


def register(app: typer.Typer) -> None:
    command(app)(doctor)


def doctor(output: Output) -> int:
    """Check Python, torch, CUDA, codecs, ONNX, weights, data, baselines, disk and switches.

    Problems come first, each with what mends it, then what is missing but not needed, then what is well. Exit code 0
    when the offline demo can run, else 3. With --quiet only problems are printed; --json has everything.
    """
    from floatbench.doctor import demo_can_run, examine, report

    findings = examine()
    able = demo_can_run(findings)
    problems = [found for found in findings if found.state == "problem"]
    number = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    lines = [f"{number}; the offline demo {'can' if able else 'cannot'} run"]
    for found in problems:
        lines.append(f"problem  {found.name:<10} {found.detail}")
        lines += [f"{'':<19} fix: {found.fix}"] if found.fix else []
    if not output.quiet:
        lines += _short(findings, "note") + _short(findings, "ok")
    output.result(report(findings), "\n".join(lines))
    return 0 if able else 3


def _short(findings: list[Finding], state: str) -> list[str]:
    """One line for each kind of finding: its detail where it is alone, else how many there are and which."""
    groups: dict[str, list[Finding]] = {}
    for found in findings:
        if found.state == state:
            groups.setdefault(found.name, []).append(found)
    lines = []
    for name, group in groups.items():
        if len(group) == 1:
            said, mend = group[0].detail, group[0].fix
        else:
            names = ", ".join(found.detail.partition(":")[0] for found in group)
            said = f"{len(group)} {'not ready' if state == 'note' else 'ready'}: {names}"
            mend = MANY.get(name, "") if state == "note" else ""
        lines.append(f"{state:<8} {name:<10} {said}")
        lines += [f"{'':<19} fix: {mend}"] if mend else []
    return lines
