"""`floatbench doctor`: is everything here, and which command mends what is not."""

from __future__ import annotations

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, print_json


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False) -> None:
    """Check Python, torch, CUDA, codecs, ONNX, weights, data, baselines, disk and switches.

    Exit code 0 when the offline demo can run, else 3. With --quiet only problems are printed.
    """
    from floatbench.doctor import demo_can_run, examine, report

    findings = examine()
    able = demo_can_run(findings)
    if json:
        print_json(report(findings))
    else:
        shown = [found for found in findings if found.state == "problem" or not quiet]
        for found in shown:
            print(f"{found.state:<8} {found.name:<10} {found.detail}")
            if found.fix:
                print(f"{'':<8} {'':<10} fix: {found.fix}")
        problems = sum(found.state == "problem" for found in findings)
        print(f"{problems} problems; the offline demo {'can' if able else 'cannot'} run")
    raise typer.Exit(0 if able else 3)
