"""Hooks of the site: what lies beside `docs/` and is linked from there becomes part of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "README.md")
ELSEWHERE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([\w./-]+)((?:#[\w-]+)?)\)")
"""A link that leaves a folder: its text, path and anchor."""


def on_files(files: Any, config: Any) -> Any:
    """Adds the documents of the top folder and the examples."""
    from mkdocs.structure.files import File

    for path in [*(ROOT / name for name in BESIDE[:2]), *sorted((ROOT / "examples").iterdir())]:
        if path.is_file():
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links that leave `docs/` lead to what `on_files` added; other files become their names."""
    up = "../" * page.file.src_uri.count("/")
    known = {file.src_uri for file in files}

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        if (ROOT / "docs" / target).exists():
            return link[0]
        return f"[{text}]({up}{target}{anchor})" if target in known else text

    if page.file.src_uri in BESIDE:  # it stood one folder higher
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    return ELSEWHERE.sub(moved, markdown)
