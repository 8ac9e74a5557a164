"""The page: three tabs of Gradio components, and what happens when somebody presses a button."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from floatbench.errors import UsageError
from floatbench.model.config import EMOTIONS
from floatbench.sampling.control import FROM_SPEECH
from floatbench.web import markup, offers
from floatbench.web.desk import Desk, foreseen
from floatbench.web.making import Watcher, make
from floatbench.web.pair import PairWatcher, score_pair
from floatbench.web.wish import Upload, VideoWish, score_command, video_name

HERE = Path(__file__).parent
STYLE, SCRIPT = HERE / "page.css", HERE / "step.js"
LARGEST_CHANGE = 10.0
"""Of a motion coefficient: FLOAT's Fig. 6 shows the directions at -10, 0 and 10."""
CONSENT = (
    "# floatbench\nA photograph and a sound become a talking portrait, on this machine only. Animate people who agreed "
    "to it; every video says in its metadata that it is synthetic."
)
PLAIN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of every event: no overlay while it runs, and no entry in a list of public functions."""
Input = TypeVar("Input", bound=gr.components.Component)


@dataclass(frozen=True)
class Panel:
    """The settings of one video as components; `inputs` is their order in an event."""

    model: gr.Dropdown
    crop: gr.Dropdown
    emotion: gr.Dropdown
    a_cfg: gr.Slider
    e_cfg: gr.Slider
    nfe: gr.Slider
    seed: gr.Number
    directions: list[gr.Slider]

    def inputs(self) -> list[Any]:
        return [self.model, self.crop, self.emotion, self.a_cfg, self.e_cfg, self.nfe, self.seed, *self.directions]


@dataclass(frozen=True)
class Pane:
    """Where a video appears: in the making, finished, and as a command."""

    stage: gr.HTML
    video: gr.Video
    command: gr.Code

    def outputs(self) -> list[Any]:
        return [self.stage, self.video, self.command]


def page(desk: Desk, models: list[str]) -> gr.Blocks:
    """The whole page; `models` are those to choose from, `desk` does the work."""
    with gr.Blocks(title="floatbench", analytics_enabled=False, fill_width=False) as blocks:
        gr.Markdown(CONSENT)
        with gr.Tab("Generate", id="generate"):
            _generate_tab(desk, models)
        with gr.Tab("Compare", id="compare"):
            _compare_tab(desk, models)
        with gr.Tab("Score", id="score"):
            _score_tab(desk)
    return blocks


def read_wish(device: str, values: Sequence[Any]) -> VideoWish:
    """The settings that the components of a panel hold, in the order of `Panel.inputs`.

    Raises:
        UsageError: a seed that is no whole number from 0 on.
    """
    model, crop, emotion, a_cfg, e_cfg, nfe, seed, *moved = values
    if seed is None or seed != int(seed) or not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed} is not a whole number from 0 on", fix="0, 1, 2 ...")
    numbers = range(len(offers.directions(model)))
    changed = tuple((number, float(moved[number])) for number in numbers if moved[number])
    return VideoWish(model, device, crop, emotion, float(a_cfg), float(e_cfg), int(nfe), int(seed), changed)


def _as_uploaded(component: Input) -> Input:
    """Hands files over as they came: what Gradio converts is another picture, and what it refuses has another error."""

    def untouched(payload: Any) -> Upload | None:
        return payload and Upload(Path(payload.path), payload.orig_name or Path(payload.path).name)

    component.preprocess = untouched  # type: ignore[method-assign]
    return component


def _sources() -> tuple[gr.Image, gr.Audio]:
    image = gr.Image(
        label="Portrait", type="filepath", sources=["upload", "webcam", "clipboard"], height=300, buttons=["fullscreen"]
    )
    audio = gr.Audio(
        label="Speech", type="filepath", sources=["upload", "microphone"], editable=False, buttons=["download"]
    )
    return _as_uploaded(image), _as_uploaded(audio)


def _panel(models: list[str], prefix: str) -> Panel:
    chosen = offers.first_choice(models)
    model = gr.Dropdown([(offers.label(name), name) for name in models], value=chosen, label="Model")
    shown = _told_missing(chosen, offers.first_detector())
    lacking = gr.HTML(**shown, elem_id=f"{prefix}-missing")
    crop = gr.Dropdown(offers.detectors(), value=offers.first_detector(), label="Face")
    with gr.Row():
        emotion = gr.Dropdown([FROM_SPEECH, *EMOTIONS], value=FROM_SPEECH, label="Emotion", min_width=140)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=100)
    own = offers.own_sampling(chosen)
    a_cfg = gr.Slider(0, 10, own.a_cfg, step=0.1, label="Guidance of the speech (a-cfg)")
    e_cfg = gr.Slider(0, 10, own.e_cfg, step=0.1, label="Guidance of the emotion (e-cfg)")
    nfe = gr.Slider(1, 50, own.nfe, step=1, label="Evaluations a window (NFE)")
    directions = _directions(models, chosen)
    panel = Panel(model, crop, emotion, a_cfg, e_cfg, nfe, seed, directions)
    gr.on(
        [model.change, crop.change], lambda *names: gr.update(**_told_missing(*names)), [model, crop], lacking, **PLAIN
    )
    model.change(_fitted(len(directions)), model, [a_cfg, e_cfg, nfe, *directions], **PLAIN)
    return panel


def _directions(models: list[str], chosen: str) -> list[gr.Slider]:
    names = offers.directions(chosen)
    most = max(len(offers.directions(name)) for name in models)
    with gr.Accordion("Motion directions", open=False):
        gr.Markdown("What is added to a motion coefficient, all through the video.")
        with gr.Row():
            sliders = [
                gr.Slider(-LARGEST_CHANGE, LARGEST_CHANGE, 0, step=0.1, min_width=200, label=names[i], visible=True)
                if i < len(names)
                else gr.Slider(-LARGEST_CHANGE, LARGEST_CHANGE, 0, step=0.1, min_width=200, label="", visible=False)
                for i in range(most)
            ]
        gr.Button("All to 0", size="sm").click(lambda: [0] * len(sliders), None, sliders, **PLAIN)
    return sliders


def _told_missing(model: str, crop: str) -> dict[str, Any]:
    """What an HTML component has to show of the weights that are missing; nothing, and no gap, when none are."""
    told = markup.missing([*offers.missing_weights(model), *offers.missing_weights(crop)])
    return {"value": told, "visible": bool(told)}


def _fitted(count: int) -> Callable[[str], list[Any]]:
    def fit(model: str) -> list[Any]:
        names, own = offers.directions(model), offers.own_sampling(model)
        sliders = [
            gr.update(label=names[i], visible=True) if i < len(names) else gr.update(visible=False, value=0)
            for i in range(count)
        ]
        return [own.a_cfg, own.e_cfg, own.nfe, *sliders]

    return fit


def _result(text: str, prefix: str, title: str = "Video") -> Pane:
    stage = gr.HTML(markup.waiting(text), elem_id=f"{prefix}-stage")
    video = gr.Video(
        label=title, visible=False, interactive=False, buttons=["download"], elem_id=f"{prefix}-video",
        elem_classes="fb-video",
    )  # fmt: skip
    return Pane(stage, video, _command(prefix))


def _command(prefix: str) -> gr.Code:
    return gr.Code(
        label="The same on the command line", interactive=False, visible=False, wrap_lines=True,
        buttons=["copy"], lines=1, show_line_numbers=False, elem_id=f"{prefix}-command", elem_classes="fb-command",
    )  # fmt: skip


def _buttons(start: str, prefix: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        go = gr.Button(start, variant="primary", elem_id=f"{prefix}-start")
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id=f"{prefix}-stop")
    return go, stop


def _wire(
    desk: Desk, tab: str, go: gr.Button, stop: gr.Button, work: Callable[..., Iterator[Any]], inputs: list[Any],
    outputs: list[Any],
) -> None:  # fmt: skip
    """Start, stop and what follows; one thing at a time is made, since the networks fill the machine."""

    def begin(request: gr.Request) -> tuple[Any, Any]:
        desk.begin(_session(request, tab))
        return gr.update(interactive=False), gr.update(interactive=True)

    def end(request: gr.Request) -> None:
        desk.stop(_session(request, tab))

    buttons = [go, stop]
    started = go.click(begin, None, buttons, **PLAIN, queue=False)
    worked = started.then(work, inputs, outputs, concurrency_limit=1, concurrency_id="machine", **PLAIN)
    worked.then(
        lambda: (gr.update(interactive=True), gr.update(interactive=False)), None, buttons, **PLAIN, queue=False
    )
    stop.click(end, None, None, **PLAIN, queue=False)


def _session(request: gr.Request, tab: str) -> str:
    return f"{request.session_hash}/{tab}"


def _steps(
    desk: Desk, session: str, wish: VideoWish, image: Upload | None, audio: Upload | None, side: str = ""
) -> Iterator[tuple[Any, Any, Any]]:
    """Updates of a `Pane` while a video is made; raises what `make` raises."""
    if image is None or audio is None:
        lacks = [name for name, given in (("portrait", image), ("speech", audio)) if given is None]
        raise UsageError(f"no {' and no '.join(lacks)} was given", fix="drop a file on its field, or record one")
    out = video_name(image.name, side)
    with desk.work(session) as (place, stop):
        watcher = Watcher(stop=stop)
        work = make(desk.models, wish, image, audio, place / out, watcher)
        while True:
            try:
                now = next(work)
            except StopIteration as done:
                video = done.value
                break
            yield markup.making(now), gr.skip(), gr.skip()
    total = sum(video.seconds.values())
    line = f"{video.n_frames} frames in {total:.1f} s ({video.fps:.1f} frames/s), NFE {video.evaluations}"
    yield (
        markup.finished(line, [*video.notes, *watcher.notes]),
        gr.update(value=str(video.path), visible=True),
        gr.update(value=wish.command(image.name, audio.name, out), visible=True),
    )


HIDDEN = {"value": None, "visible": False}


def _generate_tab(desk: Desk, models: list[str]) -> None:
    with gr.Row():
        with gr.Column(min_width=320):
            image, audio = _sources()
            panel = _panel(models, "generate")
        with gr.Column(min_width=320):
            go, stop = _buttons("Generate", "generate")
            result = _result("Drop a portrait and a speech, then press Generate.", "generate")

    def work(request: gr.Request, portrait: Any, speech: Any, *values: Any) -> Iterator[Any]:
        try:
            yield markup.waiting("waiting for the machine ..."), gr.update(**HIDDEN), gr.update(**HIDDEN)
            wish = read_wish(desk.device, values)
            yield from _steps(desk, _session(request, "generate"), wish, portrait, speech)
        except Exception as error:
            yield markup.error(foreseen(error)), gr.update(**HIDDEN), gr.update(**HIDDEN)

    _wire(desk, "generate", go, stop, work, [image, audio, *panel.inputs()], result.outputs())


def _compare_tab(desk: Desk, models: list[str]) -> None:
    with gr.Row():
        image, audio = _sources()
    go, stop = _buttons("Compare", "compare")
    both = gr.Button("Play both", visible=False, elem_id="compare-play")
    both.click(None, None, None, js="() => window.floatbenchPlayBoth()", **PLAIN)
    panels, results = [], []
    with gr.Row(elem_classes="fb-step"):
        for side in "AB":
            with gr.Column(min_width=140):  # side by side on a phone as well
                results.append(_result(f"{side}, with the settings below", f"compare-{side.lower()}", f"Video {side}"))
    with gr.Row():
        for side in "AB":
            with gr.Column(min_width=320), gr.Group():
                gr.Markdown(f"### Settings {side}", padding=True)
                panels.append(_panel(models, f"compare-{side.lower()}"))
    count = len(panels[0].inputs())

    def work(request: gr.Request, portrait: Any, speech: Any, *values: Any) -> Iterator[Any]:
        hidden = (gr.update(**HIDDEN), gr.update(**HIDDEN))
        shown: list[tuple[Any, ...]] = [(markup.waiting(f"{side} waits ..."), *hidden) for side in "AB"]
        yield *shown[0], *shown[1], gr.update(visible=False)
        for side in (0, 1):
            try:
                wish = read_wish(desk.device, values[side * count : (side + 1) * count])
                for step in _steps(desk, _session(request, "compare"), wish, portrait, speech, "ab"[side]):
                    shown[side] = step
                    rest = (gr.skip(),) * 3
                    yield *(step if side == 0 else rest), *(rest if side == 0 else step), gr.skip()
            except Exception as error:
                shown[side] = (markup.error(foreseen(error)), *hidden)
                other = (markup.waiting("not made"), *hidden) if side == 0 else (gr.skip(),) * 3
                yield (*shown[0], *other, gr.skip()) if side == 0 else (*other, *shown[1], gr.skip())
                return
        yield *((gr.skip(),) * 6), gr.update(visible=True)

    inputs = [image, audio, *panels[0].inputs(), *panels[1].inputs()]
    _wire(desk, "compare", go, stop, work, inputs, [*results[0].outputs(), *results[1].outputs(), both])


def _score_tab(desk: Desk) -> None:
    with gr.Row():
        generated = _as_uploaded(
            gr.Video(label="Generated video", sources=["upload"], height=300, buttons=[], elem_classes="fb-upload")
        )
        reference = _as_uploaded(
            gr.Video(label="Real video", sources=["upload"], height=300, buttons=[], elem_classes="fb-upload")
        )
    controls = gr.Checkbox(True, label="Also score the control systems (what the numbers mean)")
    go, stop = _buttons("Score", "score")
    stage = gr.HTML(markup.waiting("Drop two videos of the same clip, then press Score."), elem_id="score-stage")
    table = gr.Markdown(visible=False, elem_id="score-table", elem_classes="fb-table")
    command = _command("score")

    def work(request: gr.Request, made: Any, real: Any, also: bool) -> Iterator[Any]:
        try:
            if made is None or real is None:
                raise UsageError("two videos are needed", fix="drop a file on each field")
            yield markup.waiting("waiting for the machine ..."), gr.update(**HIDDEN), gr.update(**HIDDEN)
            with desk.work(_session(request, "score")) as (place, stop):
                watcher = PairWatcher(stop=stop)
                scores = score_pair(made, real, also, place / "pair", watcher)
                while True:
                    try:
                        yield markup.scoring(next(scores)), gr.skip(), gr.skip()
                    except StopIteration as done:
                        found = done.value
                        break
            told = markup.finished("scored with what is installed", watcher.left_out)
            line = score_command(made.name, real.name, also)
            yield told, gr.update(value=found, visible=True), gr.update(value=line, visible=True)
        except Exception as error:
            yield markup.error(foreseen(error)), gr.update(**HIDDEN), gr.update(**HIDDEN)

    _wire(desk, "score", go, stop, work, [generated, reference, controls], [stage, table, command])
