"""The FPS figure and the speed-quality plot: measured and published bars side by side, never joined."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatbench.errors import DependencyError, UsageError
from floatbench.files import atomic_path, write_bytes
from floatbench.methods.evaluations import evaluations_a_window
from floatbench.reports.published import SOURCE, figure9, table_cells
from floatbench.speed.record import SpeedFile, SpeedRow, rows_for_figure

REALTIME = 25.0
FIGURES = ("fps", "speed-quality")
_FORWARD, _END_TO_END, _PUBLISHED, _LINE = "#2b6ea6", "#8fb6d6", "#b9b9b9", "#b3261e"
_MARKERS = "osD^vP*X"
_CLOCKS = {"forward": "forward pass", "single-stream": "end to end", "offline": "end to end, all clips at once",
           "streaming": "as a stream"}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One system: frames a second with the range over repeats, where and how it was measured.

    `nfe` is a window's; `size` the side of the frames in pixels, 0 where it is not known.
    """

    origin: str  # "measured" or "published"
    system: str
    fps: float
    low: float | None
    high: float | None
    device: str
    nfe: float | None
    scenario: str
    quality: dict[str, float]
    label: str = ""
    protocol_hash: str = ""
    size: int = 0
    joules: float | None = None  # of a second of video

    @property
    def text(self) -> str:
        """What stands under it: system, clock, resolution, hardware."""
        clock = _CLOCKS[self.scenario] if self.scenario else "forward pass, as published"
        pixels = f"{self.size} px" if self.size else "size not stated"
        return f"{self.system}\n{clock}\n{pixels}, {self.device}"


def bars(paths: Sequence[Path], published: bool = True) -> list[Bar]:
    """Measured bars of speed files, after the paper's: of one system first the forward pass, which is what they are of.

    Raises:
        UsageError: a speed without the quality run, no measured row, or two clocks of which none is the forward pass.
    """
    measured = [bar for record, row in rows_for_figure(paths) if (bar := _measured(record, row))]
    scenarios = sorted({bar.scenario for bar in measured} - {"forward"})
    if len(scenarios) > 1:
        raise UsageError(
            f"speeds of {' and '.join(scenarios)} cannot share an axis", fix="one figure for each scenario"
        )
    if not measured:
        raise UsageError("the speed files hold no measured row", fix="floatbench speed --run RUN --out FILE")
    systems = list(dict.fromkeys(bar.system for bar in measured))
    measured.sort(key=lambda bar: (systems.index(bar.system), bar.scenario != "forward"))
    sizes = {cell.name: cell.size for table in (1, 3) for cell in table_cells(table)}
    theirs = [
        Bar("published", s.system, s.fps, None, None, s.device, s.steps, "", {},
            size=sizes.get(s.system.removeprefix("FLOAT with "), 0))
        for s in figure9()
    ]  # fmt: skip
    return [*(theirs if published else []), *measured]


def _measured(record: SpeedFile, row: SpeedRow) -> Bar | None:
    if row.fps is None or row.quality is None:
        return None
    device = str(record.environment.get("device") or "unknown device")
    side = max(row.width, row.height) or _native_size(row)
    frames = round(sum(clip.frames for clip in row.clips) / len(row.clips)) if row.clips else 0
    nfe = row.nfe_per_window
    if nfe is None and row.nfe is not None:  # a file of before it was counted a window
        nfe = evaluations_a_window({**row.details, "nfe": row.nfe}, row.configuration, frames)
    return Bar(
        "measured", row.method, row.fps.median, row.fps.low, row.fps.high, device, nfe, record.scenario,
        row.quality.scores, row.quality.label, row.quality.protocol_hash, side, row.joules_per_video_s,
    )  # fmt: skip


def _native_size(row: SpeedRow) -> int:
    size = row.details.get("native_size")
    return size if isinstance(size, int) else 0


def write_fps(paths: Sequence[Path], out: Path) -> list[Path]:
    """Figure 9 with our bars beside the paper's, dark where they are of the forward pass too.

    Writes `out`.svg, .png and .csv and returns the paths.
    """
    shown = bars(paths)
    figure, axes = _axes(max(7.0, 1.1 * len(shown)), 5.2)
    heights = [bar.fps for bar in shown]
    for place, bar in enumerate(shown):
        measured = bar.origin == "measured"
        axes.bar(place, bar.fps, color=_colour(bar), hatch="" if measured else "//",
                 edgecolor="white" if measured else "#6f6f6f", width=0.7)  # fmt: skip
        if bar.low is not None and bar.high is not None:
            axes.errorbar(place, bar.fps, [[bar.fps - bar.low], [bar.high - bar.fps]], color="black", capsize=4)
        nfe = "" if bar.nfe is None else f"\n{bar.nfe:g} steps"  # a window
        energy = "" if bar.joules is None else f"\n{bar.joules:.3g} J / s video"
        axes.annotate(f"{bar.fps:.3g}{nfe}{energy}", (place, bar.high or bar.fps), (0, 4), textcoords="offset points",
                      ha="center", va="bottom", fontsize=8, zorder=5,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(min(0.1, min(heights) / 2), max(heights) * 4)
    axes.axhline(REALTIME, color=_LINE, linestyle="--", linewidth=1)
    axes.annotate(f"real time, {REALTIME:g} FPS", (0.005, REALTIME), xycoords=("axes fraction", "data"),
                  xytext=(0, 3), textcoords="offset points", color=_LINE, fontsize=8)  # fmt: skip
    axes.set_xticks(range(len(shown)), [_wrapped(bar.text) for bar in shown], fontsize=7)
    axes.set_ylabel("frames a second (log)")
    alike = any(bar.scenario == "forward" for bar in shown)
    axes.set_title(f"measured ({_scenario(shown)}) beside the forward pass as published", fontsize=10)
    clocks = "Other machines" if alike else "Other machines and other clocks"
    source = f"Hatched: {SOURCE}, Figure 9; sizes as in its tables. {clocks}: not one ranking. Steps are a window's."
    axes.set_xlabel(source, fontsize=7, labelpad=8)
    return _save(figure, out, shown)


def _colour(bar: Bar) -> str:
    if bar.origin == "published":
        return _PUBLISHED
    return _FORWARD if bar.scenario == "forward" else _END_TO_END


def write_speed_quality(paths: Sequence[Path], out: Path, metric: str = "") -> list[Path]:
    """Speed against one metric of the paired runs, which must share a protocol; writes .svg, .png and .csv.

    Raises:
        UsageError: no such metric, or quality measured under several protocols.
    """
    shown = bars(paths, published=False)
    if len({bar.scenario for bar in shown}) > 1:
        raise UsageError(f"speeds of {_scenario(shown)} cannot share an axis", fix="one figure for each scenario")
    labels = {bar.protocol_hash: bar.label for bar in shown}
    if len(labels) > 1:
        raise UsageError(f"quality of {' and '.join(sorted(labels.values()))} cannot share an axis")
    known = sorted(set.intersection(*[set(bar.quality) for bar in shown]))
    chosen = metric or (known[0] if known else "")
    if chosen not in known:
        raise UsageError(f"not every row has the metric {chosen!r}", fix=f"--metrics {'|'.join(known) or 'none'}")
    figure, axes = _axes(8.5, 5.0)
    for place, bar in enumerate(shown):
        name = f"{bar.system}{f', {bar.size} px' if bar.size else ''}".replace("$", r"\$")
        marker, colour = _MARKERS[place % len(_MARKERS)], f"C{place % 10}"
        axes.scatter(bar.fps, bar.quality[chosen], color=colour, marker=marker, s=50, label=name)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)  # names beside points would cover each other
    axes.set_xscale("log")
    for part in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        part(_plain_powers())
    axes.margins(0.2)
    axes.axvline(REALTIME, color=_LINE, linestyle="--", linewidth=1)
    axes.annotate("real time", (REALTIME, 1), xycoords=("data", "axes fraction"), xytext=(4, -10),
                  textcoords="offset points", color=_LINE, fontsize=8)  # fmt: skip
    axes.set_xlabel(
        f"frames a second (log), {_scenario(shown)}, {', '.join(sorted({b.device for b in shown}))}", fontsize=8
    )
    axes.set_ylabel(f"{chosen} ({next(iter(labels.values()))})", fontsize=8)
    return _save(figure, out, shown)


def _plain_powers() -> Any:
    """20 and not 2 x 10^1, and no more of them than there is room for."""
    from matplotlib.ticker import LogFormatter

    return LogFormatter(labelOnlyBase=False)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("figures need matplotlib", fix="pip install 'floatbench[report]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _scenario(shown: Sequence[Bar]) -> str:
    return " and ".join(dict.fromkeys(bar.scenario for bar in shown if bar.scenario))


def _wrapped(text: str) -> str:
    """Lines of at most 16 characters; `$` would start a formula."""
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, 16)).replace("$", r"\$")


def _save(figure: Any, out: Path, shown: Sequence[Bar]) -> list[Path]:
    import matplotlib

    stem = out.with_suffix("") if out.suffix in (".svg", ".png", ".csv") else out
    paths = [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png", ".csv")]
    with matplotlib.rc_context({"svg.hashsalt": "floatbench", "svg.fonttype": "none"}):
        for path in paths[:2]:
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            with atomic_path(path) as partial:
                figure.savefig(partial, format=path.suffix[1:], dpi=160, metadata=metadata)
    write_bytes(paths[2], to_csv(shown).encode("utf-8", "replace"))
    return paths


def to_csv(shown: Sequence[Bar]) -> str:
    """One line per bar and metric (one line for a bar without a metric)."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["origin", "system", "fps", "low", "high", "realtime", "device", "steps", "scenario", "quality_of",
                     "protocol_hash", "size", "joules_per_video_s", "metric", "value"])  # fmt: skip
    for bar in shown:
        fixed = [bar.origin, bar.system, bar.fps, bar.low, bar.high, bar.fps >= REALTIME, bar.device, bar.nfe,
                 bar.scenario, bar.label, bar.protocol_hash, bar.size or "", bar.joules]  # fmt: skip
        for metric, value in sorted(bar.quality.items()) or [("", None)]:
            writer.writerow([*fixed, metric, value])
    return stream.getvalue()
