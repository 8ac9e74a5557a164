"""The page about which metric tells what, as Markdown: `floatbench metrics tell`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from floatbench.reports.column_groups import column_groups
from floatbench.reports.loading import RecordedRun
from floatbench.reports.sight import BASE, OWN, Ladder, Look, Sight, damages_of, sights
from floatbench.reports.table import TINY_NOTE, number
from floatbench.types import FPS

SIGNS = {"worse": "worse", "better": "**better**", "blind": "·", "open": "?", "no score": "none"}
HEAD = """# Which metric tells what

Which measure of a talking head sees which damage, from which strength on, to what it is blind, and by what it is
fooled. Videos of real people are damaged by a known amount; every measure is then asked whether they became worse. A
measure that does not answer cannot rank systems that differ in this way. No system is judged here, only the judges.

**How to read it.** A measure *sees* a damage where the paired test on the same clips calls the damaged videos worse
than the same videos after one encoding (`reencoded`, H.264 at crf 18): what every published video has gone through is
no damage. p is two-sided and adjusted for all damages under one measure (Holm); what holds of these people need not
hold of others. In the tables

- a number is the least strength from which on the damage is seen;
- **better** says that the measure is fooled: it prefers the damaged videos, from that strength on;
- `·` is blind: the score moves by less than 5 % of its widest move;
- `?` moves, and the clips do not decide, or no test can be made (every clip of `wrong-identity` shows one person);
- `none` has no score.

The arrow says which way papers count as better. Measures of motion without a best value (`head-div`, `blinks`, `gaze`,
`smooth`, `flicker`, THEval's lips, head and brows) are called worse or better by that arrow alone, their `-gap` by how
far they are from the real video.
"""


AGAIN = """The tables show what a run has: any damage of `floatbench metrics check` at any strength, any control, any
metric whose weights are on the machine, one's own metrics as well. Networks that were not on the machine are not in
them.
"""


def write_page(runs: Sequence[RecordedRun]) -> str:
    """The page of one or several runs, each with tables of its own."""
    return "\n".join([HEAD, *(_part(run) for run in runs), _again(runs)])


def _part(run: RecordedRun) -> str:
    found = sights(run)
    groups = column_groups({sight.metric: sight.column for sight in found})
    by_name = {sight.metric: sight for sight in found}
    lines = [f"## {run.scores.n_available} clips of {_people(run)} people", "", _made_of(run, found), ""]
    lines += ["### What each damage must be", "", *_damages(found), "", "### From which strength on", ""]
    for heading, members in groups:
        lines += [*([f"**{heading}**", ""] if heading else []), *_ladders([by_name[m] for m in members]), ""]
    lines += ["### Controls", "", "Against `reencoded`; the first two rows are the scores themselves.", ""]
    for heading, members in groups:
        lines += [*([f"**{heading}**", ""] if heading else []), *_controls([by_name[m] for m in members]), ""]
    lines += ["### In words", "", *(_sentence(sight) for sight in found), ""]
    return "\n".join([*lines, *_fooled(found)])


def _people(run: RecordedRun) -> int:
    return len({clip.identity for clip in run.info.protocol.clips if clip.id in set(run.info.available)})


def _made_of(run: RecordedRun, found: Sequence[Sight]) -> str:
    rows = [row for row in run.rows.values() if row.method == OWN and row.status == "ok"]
    seconds = sorted(row.n_frames / FPS for row in rows)
    sizes = " and ".join(sorted({f"{row.width} x {row.height}" for row in rows}))
    weights = sorted({name for record in run.scores.metrics.values() for name in record.weights})
    text = (
        f"{seconds[0]:.1f} to {seconds[-1]:.1f} s each at {FPS} frames a second, {sizes} pixels; preprocessing "
        f"`{run.info.protocol.preprocessing.id}`; {len(run.scores.methods)} controls; protocol hash "
        f"`{run.scores.protocol_hash[:8]}`, floatbench {run.scores.environment.get('floatbench', '?')}. "
        f"Weights behind the measures: {', '.join(weights) or 'none'}."
    )
    tiny = [sight.metric for sight in found if sight.tiny]
    if run.info.protocol.dataset == "folder":
        text += " A folder names no people: each file counts as a person of its own."
    return text + (f" {', '.join(tiny)}: {TINY_NOTE}." if tiny else "")


def _damages(found: Sequence[Sight]) -> list[str]:
    lines = ["| damage | strengths | unit |", "|---|---|---|"]
    return lines + [
        f"| {d.damage} | {', '.join(f'{s:g}' for s in d.strengths)} | {d.unit} |" for d in damages_of(found)
    ]


def _heading(sight: Sight) -> str:
    return f"{sight.column} {'↑' if sight.higher else '↓'}{' (tiny)' if sight.tiny else ''}<br>`{sight.metric}`"


def _ladders(found: Sequence[Sight]) -> list[str]:
    lines = ["| damage | " + " | ".join(map(_heading, found)) + " |", "|" + "---|" * (len(found) + 1)]
    for damage in damages_of(found):
        cells = [next((_answer(d) for d in sight.ladders if d.damage == damage.damage), "") for sight in found]
        lines.append(f"| {damage.damage} | " + " | ".join(cells) + " |")
    return lines


def _answer(ladder: Ladder) -> str:
    seen, fooled = ladder.from_on("worse"), ladder.from_on("better")
    if seen is not None:
        return f"{seen:g}"
    if fooled is not None:
        return f"**better** {fooled:g}"
    words = {look.word for look in ladder.looks}
    return "·" if words == {"blind"} else "none" if words == {"no score"} else "?"


def _controls(found: Sequence[Sight]) -> list[str]:
    lines = ["| control | " + " | ".join(map(_heading, found)) + " |", "|" + "---|" * (len(found) + 1)]
    for name, values in ((OWN, [s.own for s in found]), (BASE, [s.base for s in found])):
        lines.append(f"| {name} | " + " | ".join("none" if v is None else number(v) for v in values) + " |")
    names = dict.fromkeys(look.method for sight in found for look in sight.controls)
    for name in names:
        cells = [_said(next((look for look in sight.controls if look.method == name), None)) for sight in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _said(look: Look | None) -> str:
    if look is None or look.value is None:
        return "none"
    return f"{SIGNS[look.word]} {number(look.value)}"


def _sentence(sight: Sight) -> str:
    """`- **`fid`** sees blur from 5; is blind to swapped-sound; prefers ...`."""
    seen = [f"{d.damage} from {s:g}" for d in sight.ladders if (s := d.from_on("worse")) is not None]
    fooled = [f"{d.damage} from {s:g}" for d in sight.ladders if (s := d.from_on("better")) is not None]
    blind = [d.damage for d in sight.ladders if {look.word for look in d.looks} == {"blind"}]
    parts = [f"sees {', '.join(seen)}" if seen else "sees none of these damages"]
    parts += [f"is blind to {', '.join(blind)}"] if blind else []
    parts += [f"prefers {', '.join(fooled)}"] if fooled else []
    return f"- `{sight.metric}` {'; '.join(parts)}."


def _fooled(found: Sequence[Sight]) -> list[str]:
    """How often the judges of sound prefer a clip's own sound."""
    judges = [sight for sight in found if sight.won]
    if not judges:
        return []
    lines = [
        "### Does it know its own sound?", "",
        "Clips in which the measure prefers a clip's own sound; by chance it is half of them. Clips whose score is the",
        "same with both are left out.",
        "", "| measure | own against another clip's | own against 0.8 s late |", "|---|---|---|",
    ]  # fmt: skip
    for sight in judges:
        cells = [f"{won[0]} of {won[1]}" if (won := sight.won.get(n)) else "none" for n in ("swapped", "shifted:20")]
        lines.append(f"| `{sight.metric}` | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _again(runs: Sequence[RecordedRun]) -> str:
    """The methods and metrics that made the page, as they are typed; wrapped where the shell allows it."""
    lines = ["## Made again", ""]
    for run in runs:
        folder = run.info.protocol.dataset == "folder"
        data = "folder:DIR --boxes mediapipe --size 256" if folder else run.info.protocol.id
        lines += [f"    floatbench run --protocol {data} --no-controls --out RUN \\"]
        lines += [f"        --metrics {','.join(run.scores.metrics)} \\"]
        for part in textwrap.wrap(" ".join(run.scores.methods), 96, break_long_words=False, break_on_hyphens=False):
            lines += [f"        --methods {part.replace(' ', ',')} \\"]
        lines[-1] = lines[-1].removesuffix(" \\")
    lines += ["    floatbench metrics tell RUN --out which-metric-tells-what.md", "", AGAIN]
    return "\n".join(lines)
