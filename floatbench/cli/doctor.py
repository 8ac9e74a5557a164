"""`floatbench doctor`: is everything here, and which command mends what is not."""

from __future__ import annotations

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(doctor)


def doctor(output: Output) -> int:
    """Check Python, torch, CUDA, codecs, ONNX, weights, data, baselines, disk and switches.

    Exit code 0 when the offline demo can run, else 3. With --quiet only problems are printed.
    """
    from floatbench.doctor import demo_can_run, examine, report

    findings = examine()
    able = demo_can_run(findings)
    lines = []
    for found in findings:
        if found.state == "problem" or not output.quiet:
            lines.append(f"{found.state:<8} {found.name:<10} {found.detail}")
            lines += [f"{'':<8} {'':<10} fix: {found.fix}"] if found.fix else []
    problems = sum(found.state == "problem" for found in findings)
    lines.append(f"{problems} problems; the offline demo {'can' if able else 'cannot'} run")
    output.result(report(findings), "\n".join(lines))
    return 0 if able else 3
