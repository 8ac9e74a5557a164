"""How fast a page of many rows is in Chromium: ready, sort, filter and scroll times; `python benchmarks/page.py PAGE`.

Give the folder of a page (`floatbench report RUN --page DIR`). Times are medians over repeats, in milliseconds: `ready`
from opening to the end of the page's own scripts, `sort` and `filter` until the next drawn frame, `scroll` the
longest frame while the table of clips is scrolled by a screen at a time.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path

REPEATS = 5
AFTER = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))"
SORT = f"""async () => {{
    const button = document.querySelectorAll('#clip-table thead button')[2], start = performance.now();
    button.click();
    await {AFTER};
    return performance.now() - start;
}}"""
FILTER = f"""async () => {{
    const box = document.querySelector('#find'), start = performance.now();
    box.value = box.value ? '' : '12';
    box.dispatchEvent(new Event('input'));
    await {AFTER};
    return performance.now() - start;
}}"""
SCROLL = """async () => {
    const box = document.querySelector('#clip-table .scroll');
    document.querySelector('#clips').scrollIntoView({behavior: 'instant'});
    let longest = 0, last = performance.now();
    for (let i = 0; i < 60; i += 1) {
        box.scrollTop += box.clientHeight;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
    }
    return longest;
}"""


def measure(page: Path) -> dict[str, float]:
    """Medians over repeats, each in a fresh context."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(REPEATS):
            opened = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            opened.goto((page / "index.html").resolve().as_uri())
            opened.wait_for_selector("html[data-ready]")
            ready = opened.evaluate("performance.getEntriesByName('floatbench-ready')[0].startTime")
            times = {"ready": ready, "sort": opened.evaluate(SORT), "filter": opened.evaluate(FILTER)}
            opened.evaluate(FILTER)
            times["scroll"] = opened.evaluate(SCROLL)
            times["rows"] = opened.evaluate("FB.data.clips.length * FB.data.methods.length")
            for name, value in times.items():
                found.setdefault(name, []).append(value)
            opened.context.close()
        browser.close()
    return {name: round(statistics.median(values), 1) for name, values in found.items()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
