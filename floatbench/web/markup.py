"""Small pieces of HTML on the page: a video in the making, an error, what is missing."""

from __future__ import annotations

import base64
from html import escape

from floatbench.errors import FloatbenchError
from floatbench.web.making import Watcher
from floatbench.web.offers import MissingWeight, fetch_command, size
from floatbench.web.pair import PairWatcher

EMPTY = '<div class="fb-stage fb-empty">{}</div>'


def waiting(text: str) -> str:
    """The stage before anything was asked for."""
    return EMPTY.format(escape(text))


def making(watcher: Watcher) -> str:
    """The latest picture of a video, and how far it is."""
    picture = '<div class="fb-blank"></div>'
    if watcher.picture:
        data = base64.b64encode(watcher.picture).decode()
        picture = f'<img class="fb-frame" alt="the latest frame" src="data:image/jpeg;base64,{data}">'
    return f'<div class="fb-stage">{picture}{_bar(watcher.done, watcher.total)}{_line(watcher.line())}</div>'


def scoring(watcher: PairWatcher) -> str:
    """How far a pair's scores are."""
    return f'<div class="fb-stage">{_bar(0, 0)}{_line(watcher.line)}</div>'


def finished(line: str, notes: list[str]) -> str:
    """What was made, and what one should know about it."""
    return f'<div class="fb-done">{_line(line)}{"".join(map(_note, notes))}</div>'


def error(found: FloatbenchError) -> str:
    """An error as the command line tells it: what is wrong, and what mends it."""
    fix = f"<div><b>fix:</b> <code>{escape(found.fix)}</code></div>" if found.fix else ""
    return f'<div class="fb-error" role="alert"><div><b>error:</b> {escape(found.what)}</div>{fix}</div>'


def missing(lacking: list[MissingWeight]) -> str:
    """The weights that a choice lacks, with sizes and the one command that fetches them; empty when none."""
    if not lacking:
        return ""
    rows = "".join(
        f"<tr><td>{escape(row.name)}</td><td>{size(row.size)}</td><td>{escape(row.licence)}</td></tr>"
        for row in lacking
    )
    head = "<tr><th>not on this machine</th><th>size</th><th>licence</th></tr>"
    return f'<div class="fb-missing"><table>{head}{rows}</table><code>{escape(fetch_command(lacking))}</code></div>'


def _bar(done: int, total: int) -> str:
    known = f' value="{done}" max="{total}"' if total and done else ""
    return f"<progress{known}></progress>"


def _line(text: str) -> str:
    return f'<div class="fb-line">{escape(text)}</div>'


def _note(text: str) -> str:
    return f'<div class="fb-note">note: {escape(text)}</div>'
