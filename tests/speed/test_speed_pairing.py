"""Speed belongs to a run of the same configuration, or to none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from floatbench.engine.records import MetricRecord, RunInfo, ScoreFile, ScoreRow
from floatbench.errors import DataError
from floatbench.files import file_sha256
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.records import write_record
from floatbench.speed.measure import SpeedInput, SpeedPlan, measure
from floatbench.speed.pairing import FinishedRun, finished_run, pair
from floatbench.speed.record import SpeedRow
from floatbench.types import ClipMedia

SETTINGS = {"kind": "float", "steps": 10, "size": [512, 512], "weights": {"float": "ab" * 32}}


def metric(name: str, fabricated: tuple[str, ...] = ()) -> MetricRecord:
    return MetricRecord(
        id=name, column=name, higher_is_better=False, level="corpus", tiny=False, backbones={}, weights={}, licences={},
        fabricated=list(fabricated),
    )  # fmt: skip


def score(name: str, value: float | None, void: bool = False, method: str = "float") -> ScoreRow:
    return ScoreRow(method=method, metric=name, column=name, value=value, void=void, n=9, n_available=10, n_protocol=12)


@pytest.fixture
def run(tmp_path: Path):
    """Writes a finished run of `float` with the given scores."""

    def write(*scores: ScoreRow, metrics: tuple[MetricRecord, ...] = (metric("fid"), metric("lse"))) -> FinishedRun:
        protocol = Protocol(id="toy", dataset="toy", metrics=("fid",), clips=(Clip(id="a", identity="a"),))
        methods = {"float": SETTINGS}
        folder = tmp_path / "hdtf-1"
        folder.mkdir(exist_ok=True)
        info = RunInfo(protocol=protocol, protocol_hash=protocol.hash, seed=0, methods=methods)
        write_record(folder / "run.json", info)
        file = ScoreFile(
            protocol="toy", protocol_hash=protocol.hash, label="toy 9/10", n_clips=12, n_available=10, n_run=10,
            ranked=True, unranked_because=[], seed=0, replicates=1, methods=methods,
            metrics={record.id: record for record in metrics}, scores=list(scores), controls=[], environment={},
        )  # fmt: skip
        write_record(folder / "scores.json", file)
        return finished_run(folder)

    return write


def row(**changes) -> SpeedRow:
    return SpeedRow(**{"method": "float", "status": "ok", "configuration": SETTINGS, **changes})


def test_same_configuration_names_the_run_and_its_valid_scores(run):
    finished = run(score("fid", 21.1), score("lse", 7.3, void=True), score("fid", 99.0, method="other"))
    found = row()
    pair([found], finished)
    assert found.paired and found.unpaired_because == "" and found.quality is not None
    assert found.quality.run == "hdtf-1" and found.quality.label == "toy 9/10"
    assert found.quality.scores == {"fid": 21.1} and found.quality.n == {"fid": 9}
    assert found.quality.run_sha256 == file_sha256(finished.folder / "run.json")


def test_row_without_a_run_is_unpaired():
    found = row()
    pair([found], None)
    assert not found.paired and found.unpaired_because == "no --run was given"


def test_every_difference_of_the_configuration_is_named(run):
    finished = run(score("fid", 21.1))
    changed = row(configuration={**SETTINGS, "steps": 2, "impl": "fast"})
    unknown = row(method="echomimic")
    pair([changed, unknown], finished)
    assert not changed.paired and changed.unpaired_because == "the run used another configuration: impl, steps"
    assert not unknown.paired and unknown.unpaired_because == "the run has no method echomimic"


def test_void_missing_or_fabricated_scores_are_no_quality(run):
    fabricated = metric("fid", fabricated=("inception-fid",))
    for finished in (
        run(),
        run(score("fid", None)),
        run(score("fid", 21.1, void=True)),
        run(score("fid", 21.1), metrics=(fabricated,)),
    ):
        found = row()
        pair([found], finished)
        assert found.unpaired_because == "the run has no valid score of it"


def test_fabricated_weights_are_never_paired(run):
    found = row(fabricated=["float"])
    pair([found], run(score("fid", 21.1)))
    assert not found.paired and "fabricated weights: float" in found.unpaired_because


def test_failed_rows_are_left_alone(run):
    found = row(status="failed", reason="no_face")
    pair([found], run(score("fid", 21.1)))
    assert not found.paired and found.unpaired_because == ""


def test_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"run\.json"):
        finished_run(tmp_path)


def test_quality_and_speed_meet_under_one_name_however_the_choices_are_ordered(run):
    finished = run(score("fid", 21.1, method="float?e_cfg=5.0&nfe=5"))
    finished.info.methods["float?e_cfg=5.0&nfe=5"] = SETTINGS
    found = row(method="float?nfe=5&e_cfg=5")
    pair([found], finished)
    assert found.quality is not None and found.quality.scores == {"fid": 21.1}
    assert found.method == "float?e_cfg=5.0&nfe=5"  # as the run has it


class Recorded(Method):
    """A method whose description does not repeat what kind of method it is."""

    name = "float"

    def describe(self) -> dict[str, Any]:
        return {"steps": 10}

    def generate(self, request: ClipRequest) -> Generated:
        return Generated(media=ClipMedia(np.zeros((request.n_frames, 4, 4, 3), np.uint8)))


@pytest.mark.parametrize("recorded", [Recorded().record(), {"steps": 10}])
def test_a_measured_row_belongs_to_the_run_that_recorded_the_method_of_any_version(run, recorded):
    """Runs record the kind beside the description, those of the first version did not."""
    finished = run(score("fid", 21.1))
    finished.info.methods["float"] = recorded
    given = SpeedInput("clip", "clip", np.zeros((8, 8, 3), np.uint8), np.zeros(640, np.int16))
    found = measure(Recorded(), [given], SpeedPlan("single-stream", warmup=0, repeats=1))
    pair([found], finished)
    assert found.unpaired_because == "" and found.quality is not None
