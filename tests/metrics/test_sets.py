"""Sets of metrics stand for their variants wherever metrics are named."""

from __future__ import annotations

import pytest

from floatbench.cli import complete
from floatbench.cli.app import main
from floatbench.data.catalogue import dataset_for
from floatbench.engine import needs
from floatbench.engine.plan import make_plan
from floatbench.errors import UsageError
from floatbench.metrics import registry, sets
from floatbench.protocol.load import load_protocol


def test_every_member_is_a_variant_and_all_is_every_set_but_the_one_of_large_networks():
    known = set(registry.metric_ids())
    for name in sets.names():
        assert set(sets.members(name)) <= known
        assert set(sets.members(name)).isdisjoint(sets.members("all")) == (name == "recent")
        assert name == "recent" or set(sets.members(name)) <= set(sets.members("all"))
        assert not any(registry.metric(variant).info.tiny for variant in sets.members(name))


def test_the_paper_is_the_seven_columns_of_its_table():
    columns = [registry.metric(variant).info.column for variant in sets.members("paper")]
    assert columns == ["FID", "FVD", "CSIM", "E-FID", "P-FID", "LSE-D", "LSE-C"]


def test_sets_and_variants_mix_and_nothing_is_asked_for_twice():
    found = sets.expanded(["avcorr", "sync", "lse-direct-d", "nonsense"])
    assert found == ["avcorr", *sets.members("sync"), "nonsense"]


def test_a_plan_holds_the_variants_of_a_set_and_says_what_they_lack():
    protocol = load_protocol("synthetic")
    plan = make_plan(protocol, dataset_for(protocol), ["reference"], ["motion", "psnr-grey128"], 1, None, 1)
    assert "psnr-grey128" in plan.metrics
    assert {missing.name for missing in plan.missing} | set(plan.metrics) == {*sets.members("motion"), "psnr-grey128"}


def test_a_protocol_may_name_a_set():
    protocol = load_protocol("synthetic").model_copy(update={"metrics": ("theval",)})
    plan = make_plan(protocol, dataset_for(protocol), ["reference"], None, 1, None, 1)
    assert {missing.name for missing in plan.missing} | set(plan.metrics) == set(sets.members("theval"))


def test_weights_are_fetched_for_a_set():
    assert needs.needed("theval") == ("mediapipe-face-landmarker", "silero-vad")


def test_a_set_is_printed_by_the_command_that_lists_metrics(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["metrics", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| motion ") and "head-div-gap" in line for line in lines)


def test_of_a_finished_run_a_set_means_what_was_scored_and_the_rest_is_named():
    found, lacking = sets.measured(["theval", "my-own"], ["theval-brows", "fid", "theval-lipsync"])
    assert found == ["theval-brows", "theval-lipsync", "my-own"]
    assert lacking == {"theval": ["theval-lip-dynamics", "theval-head-motion-mp", "theval-silent-lips"]}
    assert sets.measured(["fid"], []) == (["fid"], {})
    with pytest.raises(UsageError, match="nothing of the set emotion was scored"):
        sets.measured(["emotion"], ["fid"])


def test_the_shell_offers_every_set():
    assert sorted(complete.SETS) == sorted(sets.names())


def test_a_protocol_file_that_names_a_set_is_the_one_that_names_its_variants(tmp_path):
    clips = 'clips = [{ id = "a.mp4", identity = "a", video = "a.mp4" }]'

    def hash_of(metrics: str) -> str:
        file = tmp_path / "mine.toml"
        file.write_text(f'id = "mine-v1"\ndataset = "hdtf"\n{metrics}\n{clips}\n')
        return load_protocol(str(file)).hash

    listed = ", ".join(f'"{variant}"' for variant in sets.members("paper"))
    assert hash_of('metrics = ["paper"]') == hash_of(f"metrics = [{listed}]") == hash_of("")
    assert hash_of('metrics = ["paper", "fid"]') == hash_of('metrics = ["paper"]')
    assert hash_of('metrics = ["theval"]') != hash_of('metrics = ["paper"]')
    assert load_protocol("synthetic", metrics=["sync"]).metrics == sets.members("sync")
