"""The page in a real headless Chromium, opened from disk: players in step, sorting, filtering, voting, no errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_toys import FRAMES, write_page_run
from report_toys import METRICS, _variant, toy_protocol

from floatbench.cli.app import main
from floatbench.metrics import registry
from floatbench.protocol.protocol import Clip
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.page.build import PageOptions, build_page
from floatbench.reports.render import render
from floatbench.reports.table import number
from floatbench.reports.table_parts import TableChoices

pytestmark = pytest.mark.browser
LOCAL = ("file:", "data:", "blob:")
EVIL = "<img src=x onerror=\"document.title='broken'\">"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A run of two systems and the reference on three clips, one failed row, and its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOATBENCH_PLUGINS", "report_toys")
        registry._catalogue.cache_clear()
        root = tmp_path_factory.mktemp("page")
        clips = (Clip(id="a", identity="p"), Clip(id="b", identity="q"), Clip(id=EVIL, identity="r"))
        protocol = toy_protocol("toy", n=1).model_copy(update={"clips": clips, "coverage_floor": 0.5})
        methods = {"near": 1.0, "far": 3.0, "reference": 0.0}
        run = write_page_run(root / "run", methods, protocol=protocol, failed={"far": ("b",)}, ranked=True)
        build_page([load_run(run)], root / "page", PageOptions())
        registry._catalogue.cache_clear()
    assert METRICS
    return run, root / "page"


@pytest.fixture
def page(chromium, folders) -> Iterator:
    """The page, opened over file://; any message on the console as an error, or any request beyond the disk, fails."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(LOCAL) else None)
    opened.on("requestfailed", lambda asked: wrong.append(asked.url) if "ABORTED" not in str(asked.failure) else None)
    opened.goto((folders[1] / "index.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    title = opened.title()
    context.close()
    assert wrong == []
    assert title.startswith("toy-toy@")


def column(page, table: str, index: int) -> list[str]:
    """The first line of a column's cells, top to bottom."""
    return page.eval_on_selector_all(
        f"{table} tbody tr", f"rows => rows.map(row => row.cells[{index}].firstChild.textContent)"
    )


def scores(page, index: int) -> list[str]:
    """The same of the table of scores, whose controls are behind one wide row."""
    return page.eval_on_selector_all(
        "#score-table tbody tr:not(.fold)", f"rows => rows.map(row => row.cells[{index}].firstChild.textContent)"
    )


def loaded(page) -> None:
    page.evaluate("document.querySelector('#compare').scrollIntoView({behavior: 'instant'})")
    page.wait_for_function(
        "() => FB.stage.state.players.length && FB.stage.state.players.every(p => p.video.readyState >= 2)"
    )


def presented(page) -> list[int]:
    return page.evaluate("FB.stage.state.players.map(p => p.frame)")


def test_scores_are_sorted_by_a_heading_both_ways_with_names_as_text(page):
    heading = page.get_by_role("button", name="FID ↓")
    heading.first.click()
    assert scores(page, 1) == ["1", "3", "0"]  # systems first, the control below them
    heading.first.click()
    assert scores(page, 1) == ["3", "1", "0"]
    assert page.locator("#score-table th[aria-sort=descending]").count() == 1
    assert page.locator("#score-table small", has_text="[2.5, 3.5]").count() == 1  # the interval
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("#clip option", has_text="<img").count() == 1


def test_every_number_says_where_it_comes_from_on_pointing_and_on_focus(page):
    cell = page.locator("#score-table tbody tr:first-child td").first
    cell.hover()
    text = page.locator("#tip").inner_text()
    for part in (
        "toy-fid",
        "2 of 3 available",
        "no_face: none",
        "hash ",
        "toy.pth aaaaaaaaaaaa",
        "Apache-2.0",
        "commit abc",
        "95 %",
    ):
        assert part in text
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    page.locator("#score-table thead button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
    assert "toy-fid" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_the_clip_table_is_filtered_and_sorted_with_missing_values_last(page):
    assert page.locator("#clips-count").inner_text() == "6 of 9 rows"
    page.locator("#clips-method").select_option(label="all methods")
    assert page.locator("#clips-count").inner_text() == "9 of 9 rows"
    page.locator("#failed-only").check()
    assert page.locator("#clips-count").inner_text() == "1 of 9 rows"
    assert column(page, "#clip-table", 0) == ["b"]
    page.locator("#failed-only").uncheck()
    page.locator("#clips-method").select_option(label="far")
    page.locator("#clip-table").get_by_role("button", name="FID ↓").click()
    assert column(page, "#clip-table", 2) == ["3", "3", "–"]
    page.locator("#find").fill("no_face")
    assert page.locator("#clips-count").inner_text() == "1 of 9 rows"


WATCH = """() => {
    window.gaps = [];
    let last = performance.now(), calm = last;
    const watch = (now) => {
        const videos = FB.stage.state.players.map(p => p.video), times = videos.map(video => video.currentTime);
        const starved = now - last > 80 || videos.some(video => video.readyState < 3);
        if (starved || !FB.stage.state.playing) calm = now;
        if (now - calm > 1000) window.gaps.push((Math.max(...times) - Math.min(...times)) * 25);
        last = now;
        requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
}"""


def test_players_stay_within_one_frame_of_each_other(page):
    """Sampled at every drawn frame, from a second after a start or after the machine left the browser waiting."""
    loaded(page)
    page.evaluate(WATCH)
    page.locator("#play").click()  # loops
    page.wait_for_function("() => window.gaps.length >= 60", timeout=90_000)
    assert max(page.evaluate("window.gaps")) < 1


def test_steps_and_seeks_show_the_same_exact_frame_in_all_players(page):
    loaded(page)
    for frame in (7, 30, 29, 0, FRAMES - 1):
        page.evaluate("frame => FB.stage.seek(frame)", frame)
        page.wait_for_function(f"() => FB.stage.state.players.every(p => p.frame === {frame})")
    page.evaluate("FB.stage.seek(10)")
    page.locator("#forward").click()
    page.wait_for_function("() => FB.stage.state.players.every(p => p.frame === 11)")
    page.locator("h2#compare-title").click()
    page.keyboard.press(",")
    page.keyboard.press(",")
    page.wait_for_function("() => FB.stage.state.players.every(p => p.frame === 9)")
    assert f"frame 9 of {FRAMES}" in page.locator("#clock").inner_text()


def test_sound_comes_from_one_player_and_loop_and_speed_are_kept(page):
    loaded(page)
    muted = "FB.stage.state.players.map(p => p.video.muted)"
    assert sum(not value for value in page.evaluate(muted)) == 1
    page.locator("h2#compare-title").click()
    page.keyboard.press("2")
    assert [i for i, value in enumerate(page.evaluate(muted)) if not value] == [1]
    page.locator("#speed").select_option("2")
    page.locator("#play").click()
    page.wait_for_function("() => FB.stage.state.frame > 40", timeout=60_000)
    page.wait_for_function("() => FB.stage.state.frame < 20 && FB.stage.state.playing", timeout=60_000)
    assert abs(page.evaluate("FB.stage.state.players[1].video.playbackRate") - 2) < 1e-9
    page.locator("#mute").check()
    assert all(page.evaluate(muted))
    page.locator("#play").click()
    page.wait_for_function("() => !FB.stage.state.playing")


def test_tracks_are_drawn_with_a_cursor_that_follows_and_moves_the_players(page):
    loaded(page)
    assert page.locator("#tracks figure.lane strong").all_inner_texts()[:2] == ["sound", "CSIM to source"]
    assert "head motion (the run holds no track of" in page.locator("#tracks .notes").inner_text()
    lane = page.locator("#tracks canvas").first
    box = lane.bounding_box()
    lane.click(position={"x": box["width"] * 0.5, "y": 10})
    page.wait_for_function(f"() => FB.stage.state.players.every(p => p.frame === {FRAMES // 2})")
    column_of_cursor = page.evaluate("""() => {
        const canvas = document.querySelector('#tracks canvas'), pen = canvas.getContext('2d');
        const [r, g, b] = FB.colour('--accent').match(/\\w\\w/g).map(x => parseInt(x, 16));
        for (let x = 0; x < canvas.width; x += 1) {
            const [p, q, s] = pen.getImageData(x, 1, 1, 1).data;
            if (p === r && q === g && s === b) return x / canvas.width;
        }
        return null;
    }""")
    assert abs(column_of_cursor - (FRAMES // 2 + 0.5) / FRAMES) < 0.01


def test_media_are_loaded_only_where_they_are_looked_at(page):
    assert page.evaluate("document.querySelectorAll('video[src]').length") <= len(
        page.evaluate("FB.stage.state.chosen")
    )
    assert page.evaluate("[...document.images].every(image => image.loading === 'lazy')")
    assert page.evaluate("document.querySelectorAll('script[src^=\"clips/\"]').length") == 1


def test_the_page_opens_with_the_systems_and_the_controls_folded(page):
    assert page.locator("#score-table tbody tr:visible th .name").all_inner_texts() == ["far", "near"]
    button = page.locator("#score-table tr.fold button")
    assert (button.inner_text(), button.get_attribute("aria-expanded")) == ("▸ 1 controls, not ranked", "false")
    page.locator("#score-table tbody tr:nth-child(2) td").first.focus()
    page.keyboard.press("ArrowDown")  # past two cells into the wide one
    assert page.evaluate("document.activeElement.closest('tr').className") == "fold"
    button.click()
    assert page.locator("#score-table tbody tr:visible th .name").all_inner_texts() == ["far", "near", "reference"]


def test_marks_say_what_the_paired_test_says_from_either_side(page):
    assert page.locator("#against").input_value() == "0"
    mark = page.locator("#score-table tbody tr:nth-child(2) td .verdict").first
    assert mark.inner_text().split() == ["≈", "not", "decided"]
    page.locator("#score-table tbody tr:nth-child(2) td").first.hover()
    assert "not decided: 2 people and 2 clips are too few" in page.locator("#tip").inner_text()
    page.mouse.move(2, 2)
    told = page.evaluate("""() => {
        const both = {difference: '-2 [-3, -1]', reversed: '2 [1, 3]', p: '0.01'};
        FB.data.verdicts[0] = [{a: 0, b: 1, word: 'better', ...both}];
        return [FB.verdict(0, 1, 0), FB.verdict(0, 0, 1)].map(v => [v.word, v.difference]);
    }""")
    assert told == [["better", "-2 [-3, -1]"], ["worse", "2 [1, 3]"]]
    page.locator("#against").select_option(label="near")
    page.locator("#against").select_option(label="far")
    assert mark.inner_text().split() == ["▼", "worse"]


def test_numbers_are_those_of_the_table_and_can_be_copied(page, folders):
    table = build_table(None, [load_run(folders[0])], [], TableChoices(controls=False))
    shown = [part.shown for line in table.ours.lines for (part,) in line.cells]
    assert [*scores(page, 1)[:2], *scores(page, 2)[:2]] == [shown[0], shown[2], shown[1], shown[3]]
    context = page.context
    for button, style in (("Copy as LaTeX", "latex"), ("Copy as CSV", "csv")):
        page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
        page.get_by_role("button", name=button).click()
        page.wait_for_function("() => window.copied")
        assert page.evaluate("window.copied") == render(table, style)
    assert context.pages == [page]
    numbers = [0, 1e-7, 1.3194e-5, 0.00012345, 1234.56, 0.1, 98765.4, -2.00049, 1e-5]
    assert [page.evaluate("FB.number", value) for value in numbers] == [number(value) for value in numbers]


def test_the_address_brings_back_clip_methods_and_time(page, folders):
    loaded(page)
    page.locator("#clip").select_option(label="b")
    page.locator("#chosen input[value='1']").uncheck()
    page.evaluate("FB.stage.seek(40)")
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.locator("#copy-link").click()
    page.wait_for_function("() => window.copied")
    address = page.evaluate("window.copied")
    assert address.endswith("/index.html#compare?clip=b&method=far&method=reference&t=1.60")
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_function("() => FB.stage.state.frame === 40")
    assert page.evaluate("[FB.data.clips[FB.stage.state.clip].id, FB.stage.state.chosen]") == ["b", [0, 2]]
    assert page.locator("nav a[aria-current]").inner_text() == "Compare"
    page.goto("about:blank")
    page.goto((folders[1] / "index.html").as_uri() + "#compare?clip=gone&method=gone&t=x")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_function("() => FB.stage.state.clip === 0")


def test_legends_have_names_and_equal_lines_take_turns(page):
    loaded(page)
    lane = page.locator("#tracks figure.lane", has=page.locator("strong", has_text="CSIM to source"))
    assert "near" in lane.locator(".at").inner_text() and "reference" in lane.locator(".at").inner_text()
    turns = page.evaluate("""() => {
        const lines = [[0, 1], [0, 0.5], [0, 1]].map((values, i) => ({name: 'abc'[i], start: 0, values}));
        const lane = {low: 0, high: 1, lines};
        FB.Tracks.prototype._tellEqualApart.call({frames: 2}, lane);
        return [lane.equal, lane.lines.map(line => [line.turn, line.turns])];
    }""")
    assert turns == [["a = c"], [[0, 2], [0, 1], [1, 2]]]


def test_the_worst_are_clips_with_a_video(page):
    page.evaluate("() => [0, 2].forEach((c) => (FB.data.media[0][c] = 'left out by --videos'))")
    page.locator("#worst-metric").select_option(label="FID · toy-fid")
    page.evaluate("document.querySelector('#worst-metric').dispatchEvent(new Event('change'))")
    assert all("far" not in text for text in page.locator("#worst-list li").all_inner_texts())
    assert page.locator("#worst-list li").count() == 3
    assert "2 of 5 have none in this page" in page.locator("#worst-note").inner_text()


def test_a_worst_clip_opens_in_the_players(page):
    page.locator("#worst-metric").select_option(label="FID · toy-fid")
    first = page.locator("#worst-list li").first
    assert "far" in first.inner_text()
    first.locator("button.pick").click()
    page.wait_for_function("() => FB.stage.state.players.some(p => FB.data.methods[p.m].name === 'far')")


def test_a_failed_row_says_why_instead_of_a_video(page):
    page.locator("#clip").select_option(label="b")
    page.wait_for_selector(".player .empty")
    assert page.locator(".player .empty").inner_text() == "no_face: none"


def test_votes_are_cast_with_keys_and_buttons_undone_saved_and_correlated(page, folders, tmp_path, capfd, monkeypatch):
    page.locator("#voter").fill("p <1>")
    page.locator("#vote-begin").click()
    page.wait_for_selector("#vote-booth:visible")
    booth = page.locator("#vote-booth").inner_text()
    assert "near" not in booth and "far" not in booth
    assert page.locator("#vote-count").inner_text() == "pair 1 of 2"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Backspace")
    assert page.locator("#vote-count").inner_text() == "pair 1 of 2"
    for _ in range(2):  # always for the system called near
        side = page.evaluate(
            "FB.data.methods[FB.vote.state.pairs[FB.vote.state.at].left].name === 'near' ? 'left' : 'right'"
        )
        page.locator(f"#pick-{side}").click()
    assert "All 2 pairs are judged" in page.locator("#vote-count").inner_text()
    with page.expect_download() as waiting:
        page.locator("#vote-export").click()
    file = tmp_path / "votes.json"
    waiting.value.save_as(file)
    saved = json.loads(file.read_text())
    assert (saved["voter"], saved["question"], len(saved["votes"])) == ("p <1>", "overall", 2)
    monkeypatch.setenv("FLOATBENCH_PLUGINS", "report_toys")
    with pytest.raises(SystemExit) as stopped:
        main(["votes", str(file), str(folders[0]), "--json"])
    found = json.loads(capfd.readouterr().out)
    assert stopped.value.code in (0, None)
    assert {item["metric"]: item["agreement"] for item in found["agreements"]} == {"toy-fid": 1.0, "toy-csim": 0.0}


def test_the_side_that_waits_shows_its_poster_and_not_black(page):
    page.locator("#vote-begin").click()
    page.wait_for_selector("#vote-booth:visible")
    pair = page.evaluate(
        "(p => [FB.data.media[p.left][p.c][1], FB.data.media[p.right][p.c][1]])(FB.vote.state.pairs[0])"
    )
    assert [page.locator(f"#vote-{side}").get_attribute("poster") for side in ("left", "right")] == pair
    assert page.locator("#vote-right").evaluate("video => video.played.length") == 0


def test_videos_are_rated_with_attention_checks_saved_and_averaged(page, folders, tmp_path, capfd, monkeypatch):
    page.locator("#voter").fill("p <2>")
    page.locator("#rate-begin").click()
    assert page.locator("#rate-count").inner_text() == "video 1 of 5"
    checks = 0
    for _ in range(5):
        assert "near" not in page.locator("#rate-booth").inner_text()
        good = page.evaluate("FB.data.methods[FB.rate.state.items[FB.rate.state.at].m].name === 'near'")
        names = page.evaluate("[...new Set([...document.querySelectorAll('#rate-questions input')].map(i => i.name))]")
        for name in names:
            assert page.locator("#rate-next").is_disabled()
            wanted = (
                page.evaluate("FB.rate.state.items[FB.rate.state.at].wanted")
                if name == "rate-check"
                else 5
                if good
                else 2
            )
            page.locator(f"input[name={name}][value='{wanted}']").check()
        checks += "rate-check" in names
        page.locator("#rate-next").click()
    assert checks == 1
    assert "All 5 videos are rated" in page.locator("#rate-count").inner_text()
    with page.expect_download() as waiting:
        page.locator("#rate-export").click()
    assert waiting.value.suggested_filename == "ratings-p_2_.json"
    file = tmp_path / "ratings.json"
    waiting.value.save_as(file)
    monkeypatch.setenv("FLOATBENCH_PLUGINS", "report_toys")
    with pytest.raises(SystemExit) as stopped:
        main(["votes", str(file), str(folders[0]), "--json"])
    found = json.loads(capfd.readouterr().out)["ratings"]
    assert not stopped.value.code
    assert (found["checks"], found["left_out"]) == (1, {})
    assert {(one["method"], one["mean"]) for one in found["opinions"]} == {("near", 5.0), ("far", 2.0)}
    assert len({one["question"] for one in found["opinions"]}) == 5


def test_colours_follow_the_system_and_the_button(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    page.locator("#theme").click()  # light
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    page.locator("#theme").click()  # dark
    assert page.evaluate(ground) == dark != light


def test_nothing_is_wider_than_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    loaded(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_every_control_has_a_name(page):
    page.locator("#vote-begin").click()
    page.locator("#rate-begin").click()
    unnamed = page.evaluate("""() => {
        const labelled = node => node.labels && [...node.labels].some(label => label.textContent.trim());
        const named = node => node.getAttribute('aria-label') || node.textContent.trim() || labelled(node);
        const controls = [...document.querySelectorAll('button, select, input, video, a, [role=grid]')];
        return controls.filter(node => node.offsetParent && !named(node)).map(node => node.outerHTML);
    }""")
    assert unnamed == []
    titles = "[...document.querySelectorAll('section')].map(s => s.getAttribute('aria-labelledby'))"
    assert all(page.locator(f"#{name}").count() == 1 for name in page.evaluate(titles))


def test_many_metrics_stand_under_tabs_that_switch_both_tables(chromium, tmp_path, monkeypatch):
    names = (*(f"toy-{i}" for i in range(11)), "toy-head")
    columns = {name: "HEAD-DIV" if name == "toy-head" else name for name in names}
    for name, column in columns.items():
        monkeypatch.setitem(METRICS, name, _variant(name, column, False, 1.0))
        monkeypatch.setitem(registry._catalogue("metrics"), name, METRICS[name])
    protocol = toy_protocol("toy", n=1, metrics=names)
    run = write_page_run(tmp_path / "run", {"one": 1.0}, metrics=names, protocol=protocol)
    build_page([load_run(run)], tmp_path / "page", PageOptions(videos=0))
    opened = chromium.new_page()
    opened.goto((tmp_path / "page" / "index.html").as_uri())
    opened.wait_for_selector("html[data-ready]")

    def headings(table: str) -> list[str]:
        return opened.locator(f"#{table} thead th small").all_inner_texts()

    assert opened.locator("#score-sets button").all_inner_texts() == ["others, 1 of 2", "others, 2 of 2", "motion"]
    assert headings("score-table") == headings("clip-table") == list(names[:6])
    opened.locator("#clip-sets button", has_text="motion").click()
    assert headings("score-table") == headings("clip-table") == ["toy-head"]
    assert opened.locator("#score-sets button[aria-pressed=true]").all_inner_texts() == ["motion"]
    opened.locator("#clip-table thead button", has_text="HEAD-DIV").click()
    assert opened.locator("#clip-table th[aria-sort=ascending], #clip-table th[aria-sort=descending]").count() == 1
    opened.close()
