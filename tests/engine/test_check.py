"""The response matrix over clips whose answers are known."""

import json

import numpy as np
import pytest
from PIL import Image

from floatbench.cli.app import main
from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.engine.check import DAMAGES, FirstFrames, check, chosen, draw
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods.controls import control
from floatbench.metrics import registry
from floatbench.metrics.base import Backbone, ClipValue, MetricInfo
from floatbench.metrics.clip import ClipMetric
from floatbench.progress import NullProgress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.types import ClipMedia


def drifting(seed, frames=32, side=48):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    loud = np.repeat(rng.standard_normal(frames) > 0.3, 640) * 8000.0
    pictures = np.stack([np.roll(base, t, 1) for t in range(frames)])
    return ClipMedia(pictures, (loud * rng.standard_normal(640 * frames)).clip(-30000, 30000).astype(np.int16))


class Clips(Dataset):
    def availability(self):
        return [Availability(clip.id, "missing" if clip.id == "gone" else "ready") for clip in self.protocol.clips]

    def load(self, clip):
        if clip.id == "broken":
            raise ClipError("unreadable")
        media = drifting(sum(map(ord, clip.id)))
        return Reference(media, media.frames[0])


def protocol(*ids):
    clips = tuple(Clip(id=i, identity=i[:1]) for i in ids)
    return Protocol(id="toy", dataset="toy", metrics=("psnr-grey128",), clips=clips)


class Sound(Backbone):
    id = "toy-sound"
    uses = frozenset({"audio"})
    calls = 0

    def load(self, device="cpu"):
        pass

    def extract(self, clip):
        type(self).calls += 1
        return {"loud": np.abs(clip.audio.astype(float)).reshape(-1, 640).mean(1)}


class Lag(ClipMetric):
    """Finds the lag of the sound against the reference's own sound; late sound is negative, as SyncNet counts."""

    info = MetricInfo(
        id="toy-lag", column="LAG", title="t", higher_is_better=True, level="clip", backbones=("toy-sound",),
        sides=("generated", "reference")
    )  # fmt: skip

    def clip_value(self, pair):
        a, b = pair.generated("toy-sound")["loud"], pair.reference("toy-sound")["loud"]
        n = len(a)
        scores = {k: np.dot(a[max(k, 0) : n + min(k, 0)], b[max(-k, 0) : n - max(k, 0)]) for k in range(-15, 16)}
        best = max(scores, key=scores.get)
        return ClipValue(float(scores[0] / np.dot(b, b)), {"offset": float(-best)})


def checked(loaded, metrics, folder, **choices):
    return check(loaded, Clips(loaded), metrics, NullProgress(), folder, workers=0, **choices)


@pytest.fixture
def toy_metrics(monkeypatch):
    real_metric, real_backbone = registry.metric, registry.backbone
    monkeypatch.setattr(registry, "metric", lambda n: Lag() if n == "toy-lag" else real_metric(n))
    monkeypatch.setattr(registry, "backbone", lambda n: Sound() if n == "toy-sound" else real_backbone(n))
    Sound.calls = 0


def test_picture_metrics_see_pictures_and_sound_metrics_see_sound(toy_metrics, tmp_path):
    loaded = protocol("a1", "b1", "c1", "broken")
    result = checked(loaded, ["psnr-grey128", "toy-lag", "fid"], tmp_path)
    cells = {(r.metric, r.damage): r for r in result.responses}
    assert cells["psnr-grey128", "noise"].direction == "worse"
    assert cells["psnr-grey128", "noise"].monotonicity == pytest.approx(1.0)
    assert cells["psnr-grey128", "wrong-identity"].share == pytest.approx(1.0, abs=0.2)
    assert cells["psnr-grey128", "sound-shift"].direction == "none"
    assert cells["psnr-grey128", "noise"].failures == 3  # the broken clip, at each strength
    assert cells["toy-lag", "blur"].direction == "none" and cells["toy-lag", "sound-shift"].direction == "worse"
    assert result.failed_clips == {"broken": "unreadable: the file cannot be decoded"}
    assert "floatbench weights fetch" in result.skipped["fid"]
    assert {r.metric for r in result.responses} == {"psnr-grey128", "toy-lag"}
    draw(result, tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert min(picture.size) > 200
    json.dumps(result.to_dict(), allow_nan=False)


def test_every_planted_sound_shift_is_recovered_whatever_the_sign_convention(toy_metrics, tmp_path):
    (shift,) = checked(protocol("a1", "b1", "c1"), ["toy-lag"], tmp_path).shifts
    assert shift.found == tuple(float(-k) for k in shift.planted)
    assert shift.largest_error == 0


def test_picture_damage_costs_a_sound_backbone_nothing(toy_metrics, tmp_path):
    checked(protocol("a1", "b1"), ["toy-lag"], tmp_path)
    shifts = 2 * 20  # planted shifts but 0, both clips
    sound_damages = 2 * (3 + 3)
    assert Sound.calls <= 2 + shifts + sound_damages + 2


def test_a_synthetic_clips_truth_is_cut_as_its_pictures_are():
    loaded = load_protocol("synthetic")
    whole, cut = dataset_for(loaded).load(loaded.clips[0]), FirstFrames(dataset_for(loaded), 30).load(loaded.clips[0])
    assert whole.truth is not None and cut.truth is not None and cut.media.n_frames == 30
    for name, value in whole.truth.items():
        expected = value if name in ("identity", "emotion") else value[:30]
        np.testing.assert_array_equal(cut.truth[name], expected)


def test_no_ready_clip_is_a_data_error_and_identities_come_first(tmp_path):
    with pytest.raises(DataError, match="no clip of toy is ready"):
        checked(protocol("gone"), ["psnr-grey128"], tmp_path)
    assert checked(protocol("a1", "a2", "b1", "gone"), [], tmp_path, clips=2).clips == ("a1", "b1")


def test_a_second_call_has_nothing_left_to_do_and_another_length_is_another_run(toy_metrics, tmp_path):
    loaded = protocol("a1", "b1")
    first = checked(loaded, ["toy-lag"], tmp_path, frames=25)
    calls = Sound.calls
    assert checked(loaded, ["toy-lag"], tmp_path, frames=25) == first and Sound.calls == calls
    longer = checked(loaded, ["toy-lag"], tmp_path, frames=30)
    assert Sound.calls > calls and longer.frames == 30


def test_full_strength_of_a_damage_is_the_control_of_every_run(toy_metrics, tmp_path):
    result = checked(protocol("a1", "b1"), ["psnr-grey128"], tmp_path, damages=chosen(["freeze"], 1))
    scores = json.loads(next(tmp_path.glob("run-*/scores.json")).read_text())
    assert sorted(scores["methods"]) == ["frozen", "reference"]
    assert result.responses[0].scores == tuple(c["value"] for c in scores["scores"] if c["method"] == "frozen")


def test_kinds_and_greatest_strengths_can_be_chosen():
    assert chosen() == DAMAGES
    blur, freeze = chosen(["freeze", "blur"], 1)
    assert (blur.name, blur.strengths, freeze.strengths) == ("blur", (12,), (1.0,))
    with pytest.raises(UsageError, match="unknown damage 'blurr'"):
        chosen(["blurr"])


def test_every_row_of_the_matrix_is_a_control_that_exists():
    for damage in DAMAGES:
        for name in damage.methods():
            assert control(name) is not None, name


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    output = capsys.readouterr()
    return end.value.code, output.out, output.err


def test_list_and_show_print_what_a_number_means(capsys):
    code, out, _ = run(capsys, "metrics", "list", "--json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0 and rows["fid"]["weights"][0]["state"] == "missing" and rows["psnr-grey128"]["weights"] == []
    code, out, _ = run(capsys, "metrics", "list")
    assert code == 0 and "inception-fid (missing)" in out
    code, out, _ = run(capsys, "metrics", "show", "fvd")
    assert code == 0 and "consecutive windows from frame 0" in out and "'epsilon': 0.001" in out
    code, out, err = run(capsys, "metrics", "show", "fvdd")
    assert code == 2 and out == "" and "did you mean" in err


def test_every_variant_has_a_complete_card():
    from floatbench.metrics.cards import cards

    for row in cards():
        for key in ("title", "formula", "source", "parity", "column"):
            assert row[key].strip(), (row["id"], key)
        assert row["backbones"] and row["sides"]


def test_check_writes_the_matrix_as_json_and_picture(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("floatbench.protocol.load.load_protocol", lambda *_, **__: protocol("a1", "b1"))
    monkeypatch.setattr("floatbench.data.catalogue.dataset_for", Clips)
    out = tmp_path / "matrix"
    here = ("--protocol", "toy", "--workers", "0", "--out", str(out))
    code, text, err = run(capsys, "metrics", "check", *here, "--frames", "25")
    assert code == 0 and "wrong-identity" in text and "psnr-grey128" in text
    assert json.loads((out / "matrix.json").read_text())["clips"] == ["a1", "b1"]
    assert (out / "matrix.png").stat().st_size > 10_000
    few = ["--damages", "noise,freeze", "--strengths", "2", "--json"]
    code, text, _ = run(capsys, "metrics", "check", *here, *few)
    assert [(r["damage"], r["strengths"]) for r in json.loads(text)["responses"]] == [
        ("noise", [15, 40]),
        ("freeze", [0.5, 1.0]),
    ]
    code, _, err = run(capsys, "metrics", "check", *here, "--metrics", "fid")
    assert code == 1 and "left out fid" in err
