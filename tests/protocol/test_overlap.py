"""What is known of test clips that systems were trained on is counted, said and can be left out."""

from __future__ import annotations

import json

import pytest

from floatbench.baselines import manifest
from floatbench.cli.app import main
from floatbench.errors import UsageError
from floatbench.protocol.load import load_protocol
from floatbench.protocol.overlap import disjoint_clips, overlap_notes, overlaps
from floatbench.protocol.protocol import Clip


def test_most_test_clips_of_hdtf_are_in_the_training_list_of_edtalk_and_six_in_that_of_difftalk():
    found = {overlap.name: overlap for overlap in overlaps(load_protocol("hdtf").clips)}
    edtalk, difftalk = found["edtalk"], found["difftalk"]
    assert (edtalk.clips, edtalk.of_clips, edtalk.people, edtalk.of_people) == (64, 78, 68, 78)
    assert (difftalk.clips, difftalk.people) == (6, 6)


def test_a_protocol_without_such_labels_says_nothing():
    assert overlaps(load_protocol("ravdess").clips) == []
    assert overlap_notes([Clip(id="a", identity="ann")], {"float": {}}) == []


def test_the_notes_of_a_table_name_the_list_and_what_a_system_was_trained_on():
    notes = overlap_notes(load_protocol("hdtf").clips, {"hallo": {"trained_on": ["HDTF"]}, "reference": {}})
    assert "64 of 78 clips and 68 of 78 people are in EDTalk's published training list" in notes
    assert notes[-1] == "hallo was trained on HDTF"


def test_the_disjoint_subset_holds_nobody_who_is_in_the_list():
    protocol = load_protocol("hdtf")
    left = disjoint_clips(protocol, "edtalk")
    assert len(left) == 10
    assert overlaps(clip for clip in protocol.clips if clip.id in left)[0].people == 0
    assert disjoint_clips(protocol, "EDTalk", left[:2]) == left[:2]


@pytest.mark.parametrize(
    ("protocol", "name", "among", "word"),
    [
        ("hdtf", "edtlk", None, "did you mean edtalk"),
        ("ravdess", "edtalk", None, "does not say"),
        ("hdtf", "edtalk", [], "every chosen clip"),
    ],
)
def test_what_cannot_be_made_disjoint_is_refused(protocol, name, among, word):
    with pytest.raises(UsageError) as raised:
        disjoint_clips(load_protocol(protocol), name, among)
    assert word in f"{raised.value} {raised.value.fix}"


def _typed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(list(arguments))
    return capfd.readouterr().out


def test_protocol_show_says_how_much_was_seen(capfd):
    found = json.loads(_typed(capfd, "protocol", "show", "hdtf", "--json"))["overlaps"][0]
    assert (found["name"], found["clips"], found["people"]) == ("edtalk", 64, 68)
    assert "68 of 78 people" in _typed(capfd, "protocol", "show", "hdtf")


def test_run_takes_only_people_outside_a_training_list(capfd):
    options = ["run", "--protocol", "hdtf", "--methods", "reference", "--disjoint-from", "edtalk", "--dry-run"]
    assert json.loads(_typed(capfd, *options, "--metrics", "psnr-grey128", "--json"))["clips"] == 10


@pytest.mark.parametrize("name", manifest.names())
def test_every_built_in_baseline_says_what_it_was_trained_on(name):
    assert manifest.load(name).trained_on
