"""Self-judged: the cells of a network that taught the system are marked, in every table and comparison."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench import api
from floatbench.baselines import manifest as manifests
from floatbench.engine import runner
from floatbench.engine.judges import JUDGES, is_self_judged, self_judged
from floatbench.errors import UsageError
from floatbench.media import write_lossless
from floatbench.methods import catalogue
from floatbench.methods.videos import declared, read_trained_with
from floatbench.metrics import registry

SYNC = {"trained_with": ["syncnet"]}


@pytest.mark.parametrize("metric", ["lse-direct-d", "lse-ffmpeg-c", "lse-wholeframe-c-75"])
def test_every_reading_of_lse_is_judged_by_a_syncnet(metric):
    backbones = registry.metric(metric).info.backbones
    assert self_judged(SYNC, backbones) == ["self-judged: trained against a SyncNet"]
    assert self_judged({"trained_with": ["arcface"]}, backbones) == []
    assert self_judged({}, backbones) == []


def test_a_small_bundled_network_and_another_family_judge_nobody_they_did_not_teach():
    assert self_judged(SYNC, registry.metric("lse-tiny-c").info.backbones) == []
    assert self_judged(SYNC, registry.metric("csim-gt").info.backbones) == []


def test_each_family_judges_at_least_one_metric():
    used = {name for metric in registry.metric_ids() for name in registry.metric(metric).info.backbones}
    for family in JUDGES:
        marks = self_judged({"trained_with": [family]}, used)
        assert len(marks) == 1 and is_self_judged(marks), family
    assert not is_self_judged(["few rows: 2 rows of 8 numbers"])


def test_a_manifest_may_only_name_a_family_that_is_known(tmp_path):
    folder = manifests.folders()["hallo"]
    text = (folder / "manifest.toml").read_text()
    for name in JUDGES:
        (tmp_path / "manifest.toml").write_text(f'trained_with = ["{name}"]\n{text}')
        assert manifests.read(tmp_path).trained_with == (name,)
    (tmp_path / "manifest.toml").write_text(f'trained_with = ["lipnet"]\n{text}')
    with pytest.raises(UsageError, match="trained_with"):
        manifests.read(tmp_path)


def test_finished_videos_are_declared_by_their_name(tmp_path):
    (tmp_path / "out").mkdir()
    told = read_trained_with(["Ours=syncnet, arcface", "Ours=syncnet,i3d"])
    assert told == {"Ours": ("syncnet", "arcface", "i3d")}
    ours, theirs = catalogue.resolve([f"Ours=videos:{tmp_path / 'out'}", f"videos:{tmp_path / 'out'} as Theirs"])
    marked, plain = declared([ours, theirs], told)
    backbones = registry.metric("lse-direct-c").info.backbones
    assert self_judged(marked.record(), backbones) == ["self-judged: trained against a SyncNet"]
    assert "trained_with" not in plain.record() and marked.key() == ours.key()


@pytest.mark.parametrize(
    ("told", "words"),
    [("syncnet", "not a name and networks"), ("Ours=", "not a name"), ("Ours=lipnet", "unknown network lipnet")],
)
def test_a_declaration_that_says_nothing_is_one_line(told, words):
    with pytest.raises(UsageError, match=words):
        read_trained_with([told])


def test_a_declaration_for_nobody_names_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="Our: no finished videos") as caught:
        declared(catalogue.resolve([f"Ours=videos:{tmp_path}", "reference"]), {"Our": ("syncnet",)})
    assert "Ours" in str(caught.value.fix)


def test_what_repositories_say_of_their_teachers_is_in_the_manifests():
    taught = {name: manifests.load(name).trained_with for name in ("wav2lip", "edtalk", "latentsync", "sadtalker")}
    assert taught == {"sadtalker": ("reconnet",)} | dict.fromkeys(("wav2lip", "edtalk", "latentsync"), ("syncnet",))


def test_score_declares_its_one_system(tmp_path, monkeypatch):
    for folder in ("mine", "real"):
        write_lossless(_made(tmp_path / folder) / "a.mkv", np.zeros((2, 32, 32, 3), np.uint8))
    seen = []
    monkeypatch.setattr(runner, "run", lambda protocol, dataset, options, progress: seen.extend(options.all_methods()))
    monkeypatch.setattr(api, "_finished", lambda result: result)
    api.score(tmp_path / "mine", tmp_path / "real", name="a=b", trained_with=["syncnet"], controls=False)
    assert [(method.name, method.record()["trained_with"]) for method in seen] == [("a=b", ["syncnet"])]


def _made(folder):
    folder.mkdir()
    return folder
