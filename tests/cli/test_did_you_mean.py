"""A name that was mistyped is told with the name that was meant, in one line each."""

from __future__ import annotations

import pytest

from floatbench.cli.app import main
from floatbench.text import near

MISTYPED = {
    "run -p hdft": "hdtf",
    "run -p HDTF": "hdtf",
    "protocol show ravdes": "ravdess",
    "run -p synthetic --metrics csim-tinny": "csim-tiny",
    "metrics show fidd": "fid",
    "run -p synthetic -m flaot": "float",
    "run -p synthetic -m Hallo": "hallo",
    "run -p synthetic -m blurr:5": "blur:X",
    "run -p synthetic -m shfted:5": "shifted:5",
    "run -p synthetic -m float-tiny?emotion=hapy": "happy",
    "run -p synthetic -m float-tiny@offcial": "official",
    "run -p synthetic --clips syn-90000-O": "syn-90000-0",
    "metrics check --protocol synthetic --damages blurr": "blur",
    "weights fetch inceptionfid": "inception-fid",
    "weights fetch --for hdft": "hdtf",
    "generate -i a.png -a b.wav -o o.mp4 --emotion suprise": "surprise",
    "generate -i a.png -a b.wav -o o.mp4 --preset papr": "paper",
    "baseline show halo": "hallo",
    "train flow --config float-tny --out x": "float-tiny",
}


@pytest.mark.parametrize("line", MISTYPED)
def test_the_name_that_was_meant_is_in_the_fix(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    told = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and len(told) == 2
    assert told[1].startswith("fix: did you mean ") and MISTYPED[line] in told[1]


def test_case_is_no_distance_and_a_far_name_gets_the_list() -> None:
    assert near("HAPPY", ["happy", "sad"]) == "did you mean happy?"
    assert near("CSIM", ["csim", "FID"]) == "did you mean csim?"
    assert near("xyz", ["b", "a"]) == "known: a, b"
    assert near("xyz", ["b", "a"], "look there") == "look there"
