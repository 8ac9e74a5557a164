"""Systems that need a source video, through whole runs: allowed or not, given what the protocol says, marked."""

from __future__ import annotations

import numpy as np
import pytest
from engine_toys import ToyDataset, media, protocol
from test_runner import run_toy

from floatbench.errors import DataError, UsageError
from floatbench.media import write_lossless
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.methods.source_video import played
from floatbench.protocol.protocol import Protocol
from floatbench.reports.loading import load_run
from floatbench.reports.marks import method_marks
from floatbench.reports.page.document import PageRuns, document
from floatbench.reports.table import markdown
from floatbench.types import ClipMedia

pytestmark = pytest.mark.usefixtures("toys")


class Dub(Method):
    """Hands back the video that it was given, turned upside down."""

    name = "dub"
    needs = frozenset({"source_video"})

    def generate(self, request: ClipRequest) -> Generated:
        assert request.source_video is not None and request.reference is None
        video = request.folder / "out.mkv"
        write_lossless(video, np.ascontiguousarray(request.source_video[:, ::-1]))
        return Generated(video=video)


class Lending(ToyDataset):
    """Keys by content; `shade` darkens what `clip 2` shows, which `clip 0` borrows."""

    shade = 0

    def content_keys(self, clips):
        return {clip.id: f"{clip.id} {self.shade if clip.id == 'clip 2' else 0}" for clip in clips}

    def load(self, clip):
        found = super().load(clip)
        if clip.id != "clip 2":
            return found
        return type(found)(ClipMedia(found.media.frames - self.shade, found.media.audio), found.source)


def pixels(frames: np.ndarray) -> str:
    return ClipMedia(np.ascontiguousarray(frames[:, ::-1])).pixels_sha256


def with_rule(rule: str, **more) -> Lending:
    return Lending(Protocol.model_validate(protocol(**more).model_dump() | {"source_video": rule}))


def test_a_protocol_gives_no_video_unless_it_says_so(tmp_path):
    with pytest.raises(UsageError) as caught:
        run_toy(tmp_path / "run", "jitter", Dub())
    assert str(caught.value).splitlines() == [
        "dub: a source video is needed, and the protocol toy gives none",
        "fix: --source-video still (or other-clip; own shows the target and is never ranked)",
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rule", "mark", "ranked"),
    [
        ("still", "source video: the still", True),
        ("other-clip", "source video: another clip", True),
        ("own", "source video: the target itself", False),
    ],
)
def test_a_system_gets_what_the_protocol_says_and_its_rows_bear_the_mark(tmp_path, rule, mark, ranked):
    result = run_toy(tmp_path / "run", "jitter", Dub(), dataset=with_rule(rule))
    given = {
        "still": np.repeat(media("clip 0").frames[:1], 26, axis=0),
        "own": media("clip 0").frames,
        "other-clip": media("clip 2").frames,
    }
    row = result.rows["dub", "clip 0", 0]
    assert row.pixels_sha256 == pixels(given[rule])
    assert row.details.get("source_video", "") == ("clip 2" if rule == "other-clip" else "")
    record = result.scores.methods["dub"]
    assert (record.get("ranked", True), record["source_video"]) == (ranked, rule)
    assert method_marks(record) == ((mark,) if ranked else (mark, "not ranked"))
    table = markdown(result.scores)
    assert f"| dub ({mark}" in table and "| jitter | " in table
    page = document(PageRuns([load_run(result.folder)]), None)
    assert {one["name"]: one["marks"] for one in page["methods"]} == {"jitter": (), "dub": method_marks(record)}


def test_a_video_of_another_content_makes_the_clip_again_and_only_that(tmp_path):
    dataset = with_rule("other-clip")
    run_toy(tmp_path / "run", Dub(), dataset=dataset)
    dataset.shade = 7
    result = run_toy(tmp_path / "run", Dub(), dataset=dataset)
    darker = dataset.load(dataset.protocol.clips[2]).media.frames
    assert result.rows["dub", "clip 0", 0].pixels_sha256 == pixels(darker)
    assert result.new_rows == 2  # that of clip 2, whose reference is another, and that of clip 0, which borrows it


def test_a_shorter_video_runs_back_and_forth(tmp_path):
    class Short(Lending):
        def load(self, clip):
            found = super().load(clip)
            return type(found)(media(clip.id, 9), found.source) if clip.id == "clip 2" else found

    result = run_toy(tmp_path / "run", Dub(), dataset=Short(with_rule("other-clip").protocol))
    assert result.rows["dub", "clip 0", 0].pixels_sha256 == pixels(played(media("clip 2", 9).frames, 26))


def test_a_person_without_another_clip_is_a_failed_row_and_a_protocol_of_such_people_is_refused(tmp_path):
    result = run_toy(tmp_path / "run", Dub(), dataset=with_rule("other-clip", n_clips=3, n_identities=2))
    assert {row.clip: row.reason for row in result.failed} == {"clip 1": "no_source_video"}
    alone = with_rule("other-clip", n_clips=3, n_identities=3)
    with pytest.raises(DataError, match="no clip of toy has another clip of the same person") as caught:
        run_toy(tmp_path / "alone", Dub(), dataset=alone)
    assert "--source-video still" in str(caught.value)
    kept = run_toy(tmp_path / "alone", "jitter", Dub(), dataset=alone, skip_unavailable=True)
    assert set(kept.scores.methods) == {"jitter"} and kept.skipped == ["dub"]
