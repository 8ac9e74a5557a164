"""Fig. 3's ablation: rows differ by component losses alone, are scored as training scores them, and are kept."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from toy_config import TOY

from floatbench.cli.app import main
from floatbench.errors import DataError, Interrupted, UsageError
from floatbench.training import component_losses
from floatbench.training.component_losses import (
    COMPONENT_ROWS,
    CRITICS,
    ComponentPlan,
    ablate_components,
    config_of,
    require_components,
)
from floatbench.training.configs import load_config
from floatbench.training.tiny.phase import TinyAutoencoderPhase
from floatbench.training.train import train_autoencoder
from floatbench.training.validation import ValidationPlan

BLIND = "[model]\nreader = false\npainter = false\n"
WEIGHTS = """[autoencoder]
component = 1.0
component_l1 = 0
component_l2 = 0
full_adv = 0.1
eye_adv = 0.2
eye_style = 1.0
lip_adv = 0.3
lip_style = 2.0
encoder = "trained"
truth_share = 0
truth_warp = 0
across = 0
critic_max = 8
critic_base = 512
component_width = 4
sample_every = 0
"""
HELD = """
id = "components-v1"
dataset = "synthetic"
metrics = ["fid-tiny"]
[preprocessing]
spec = "rendered"
boxes = "none"
size = 64
[clips]
first_identity = 96000
identities = 2
seconds = 1.0
"""
METRICS = ["psnr-grey128", "ssim-grey128", "aed-tiny"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> ComponentPlan:
    folder = tmp_path_factory.mktemp("components")
    (folder / "held.toml").write_text(HELD)
    (folder / "toy.toml").write_text(TOY.replace("[autoencoder]\n", WEIGHTS).replace("[model]\n", BLIND))
    held = ValidationPlan(str(folder / "held.toml"))
    return ComponentPlan(held, str(folder / "toy.toml"), True, 2, folder / "out", device="cpu")


@pytest.fixture(scope="module")
def found(plan, clips) -> component_losses.ComponentScores:
    return ablate_components(plan, clips=clips)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "autoencoder" / "log.jsonl").read_text().splitlines()]


def test_rows_begin_alike_and_weigh_what_their_names_say(found, plan):
    first = {row.row: log(plan.out / "components" / row.row)[0] for row in COMPONENT_ROWS}
    c = load_config(plan.config).autoencoder
    plain = ("l1", "perceptual", "full_adv")
    weighed = {"none": plain, "perceptual": (*plain, "component"), "critics": (*plain, *CRITICS)}
    weighed["full"] = (*plain, "component", *CRITICS)
    for row, losses in first.items():
        assert losses["l1"] == first["full"]["l1"] and losses["full_adv"] == first["full"]["full_adv"]
        assert losses["total"] == pytest.approx(sum(getattr(c, name) * losses[name] for name in weighed[row]), rel=1e-5)
    assert len({losses["total"] for losses in first.values()}) == 4


def test_the_scores_of_a_row_are_those_of_a_validated_training(found, plan, clips, tmp_path):
    whole = config_of(load_config(plan.config), COMPONENT_ROWS[0], 2)
    train_autoencoder(whole, tmp_path, device="cpu", clips=clips, validation=replace(plan.held, every=2))
    last = json.loads((tmp_path / "autoencoder" / "validation.jsonl").read_text().splitlines()[-1])
    assert found.metrics == METRICS and found.rows[0].scores == last["scores"]
    assert [row.row for row in found.rows] == ["none", "perceptual", "critics", "full", "frozen"]


def test_the_same_command_again_trains_and_scores_nothing_and_another_metric_is_scored_alone(found, plan, monkeypatch):
    monkeypatch.setattr(component_losses, "train_autoencoder", None)
    asked: list[list[str]] = []
    original = component_losses.HeldOutClips

    def noting(held, names, *others):
        asked.append(list(names))
        return original(held, names, *others)

    monkeypatch.setattr(component_losses, "HeldOutClips", noting)
    assert ablate_components(plan) == found and not asked
    more = replace(plan.held, metrics=("psnr-grey128", "fid-tiny"))
    assert list(ablate_components(replace(plan, held=more)).rows[3].scores) == ["psnr-grey128", "fid-tiny"]
    ablate_components(replace(plan, held=replace(plan.held, limit=1)))
    assert asked == [["fid-tiny"], METRICS]


def test_a_stopped_ablation_goes_on_to_the_same_losses(found, plan, clips, tmp_path, monkeypatch):
    original = TinyAutoencoderPhase.step
    here = replace(plan, out=tmp_path)

    def step_and_signal(self, number):
        if number == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, number)

    monkeypatch.setattr(component_losses, "COMPONENT_ROWS", COMPONENT_ROWS[3:])
    with monkeypatch.context() as patch:
        patch.setattr(TinyAutoencoderPhase, "step", step_and_signal)
        with pytest.raises(Interrupted, match="step 1"):
            ablate_components(here, clips=clips)
    assert ablate_components(here, clips=clips).rows[0].scores == found.rows[3].scores


def test_a_configuration_whose_rows_would_not_differ_by_the_papers_terms_is_refused_with_its_mend(plan):
    with pytest.raises(UsageError, match="without L_comp-lp and discriminators") as refused:
        require_components(load_config("float-tiny"), 100)
    assert "component = 100, eye_adv = 1, eye_style = 100" in str(refused.value)
    assert "component_l1 = 0, component_l2 = 0" in str(refused.value)
    toy = load_config(plan.config)
    late = replace(toy, autoencoder=replace(toy.autoencoder, component_from=50))
    require_components(late, 51)
    with pytest.raises(UsageError, match="from step 50 on: none within 50 steps") as refused:
        require_components(late, 50)
    assert "--steps above 50" in str(refused.value)
    with pytest.raises(UsageError, match=r"from step 20000 on"):
        require_components(load_config("float-512"), 2500)


def test_an_auto_encoder_of_another_configuration_is_refused(found, plan, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(Path(plan.config).read_text().replace("full_adv = 0.1", "full_adv = 0.2"))
    with pytest.raises(UsageError, match="another configuration"):
        ablate_components(replace(plan, config=str(other)))


def test_without_train_nothing_is_trained(plan, tmp_path):
    with pytest.raises(DataError) as missing:
        ablate_components(replace(plan, out=tmp_path, train=False))
    assert missing.value.fix == "the same command with --train"


def test_weights_that_a_metric_lacks_are_named_before_training(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_HOME", "/nonexistent")
    monkeypatch.setattr(component_losses, "train_autoencoder", None)
    held = replace(plan.held, metrics=("psnr-grey128", "aed-mp52"))
    with pytest.raises(DataError, match="mediapipe-face-landmarker"):
        ablate_components(replace(plan, held=held, out=tmp_path))


def command(capfd, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["ablate", "--figure", "3", *arguments])
    out, err = capfd.readouterr()
    return int(stopped.value.code or 0), out, err


def test_the_command_prints_the_rows_and_says_which_are_missing(found, plan, capfd):
    arguments = ("--protocol", plan.held.protocol, "--config", plan.config, "--out", str(plan.out), "-q")
    code, out, _ = command(capfd, *arguments)
    psnr = found.rows[3].scores["psnr-grey128"]
    assert code == 0 and "| FLOAT | 2 steps, " in out and f" | {psnr:.4g} | " in out and "*frozen*" in out
    file = Path(found.rows[1].autoencoder)
    aside = file.rename(file.with_suffix(".aside"))
    try:
        code, out, _ = command(capfd, *arguments, "--json", "--no-controls")
    finally:
        aside.rename(file)
    rows = json.loads(out)["figure 3"]
    assert code == 1 and list(rows) == [row.name for row in COMPONENT_ROWS]
    assert rows["L_comp-lp alone"] == {"budget": "", "autoencoder": "", "ours": {}}
    assert rows["FLOAT"]["ours"] == found.rows[3].scores


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--figure", "4"], "--figure 3"),
        (["--table", "3"], "--figure 3 alone"),
        (["--weights", "float"], "--figure 3 alone"),
        (["--metrics", "csim-tiny"], "phase 1 makes single pictures"),
        (["--train", "--steps", "5"], "float-tiny trains without"),
    ],
)
def test_what_figure_3_cannot_mean_is_a_usage_error(arguments, said, capfd, tmp_path):
    code, _, err = command(capfd, *arguments, "--out", str(tmp_path), "-q")
    assert code == 2 and said in " ".join(err.split())
