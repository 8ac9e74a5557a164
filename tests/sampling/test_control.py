"""Control: emotion vectors, curves, and edits of the motion coefficients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench.errors import DataError, UsageError
from floatbench.sampling.control import (
    Control,
    check_controls,
    edit_motion,
    parse_control,
    parse_emotion,
    project_motion,
)

GENERATOR = torch.Generator().manual_seed(0)
BASIS = torch.linalg.qr(torch.randn(12, 5, generator=GENERATOR, dtype=torch.float64))[0]
MOTION = torch.randn(2, 7, 12, generator=GENERATOR, dtype=torch.float64)


def test_adding_moves_one_coefficient_and_nothing_else():
    edited = edit_motion(MOTION, BASIS, (Control(3, 0.5),))
    change = (edited - MOTION) @ BASIS
    torch.testing.assert_close(change[..., 3], torch.full((2, 7), 0.5, dtype=torch.float64))
    assert torch.all(change[..., [0, 1, 2, 4]].abs() < 1e-12)
    outside = torch.eye(12, dtype=torch.float64) - BASIS @ BASIS.T
    torch.testing.assert_close(edited @ outside, MOTION @ outside)


def test_setting_gives_the_coefficient_whatever_it_was():
    edited = edit_motion(MOTION, BASIS, (Control(1, -2.0, "set"), Control(4, 1.0, "set")))
    torch.testing.assert_close((edited @ BASIS)[..., [1, 4]], torch.tensor([-2.0, 1.0]).double().expand(2, 7, 2))
    torch.testing.assert_close((edited @ BASIS)[..., [0, 2, 3]], (MOTION @ BASIS)[..., [0, 2, 3]])


def test_a_curve_follows_the_frames_of_the_clip_and_not_of_the_window():
    control = Control(0, ((0.0, 10.0), (0.0, 1.0)))
    whole = edit_motion(torch.zeros(1, 14, 12).double(), BASIS, (control,)) @ BASIS
    parts = [edit_motion(torch.zeros(1, 7, 12).double(), BASIS, (control,), start) @ BASIS for start in (0, 7)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    expected = np.clip(np.arange(14) / 10, 0, 1)
    np.testing.assert_allclose(whole[0, :, 0], expected, atol=1e-6)


def test_projection_keeps_the_span_and_removes_the_rest():
    inside = project_motion(MOTION, BASIS)
    torch.testing.assert_close(inside @ BASIS, MOTION @ BASIS)
    torch.testing.assert_close(project_motion(inside, BASIS), inside)
    assert (inside - MOTION).norm() > 1


def test_no_control_returns_the_motion_untouched():
    assert edit_motion(MOTION, BASIS, ()) is MOTION


def test_emotions_come_by_name_numbers_or_from_speech():
    happy = parse_emotion("Happy")
    assert happy is not None and happy.tolist() == [0, 0, 0, 1, 0, 0, 0]
    weights = parse_emotion("0,0,0,0.5,0,0,0.5")
    assert weights is not None and weights.tolist() == [0, 0, 0, 0.5, 0, 0, 0.5]
    assert parse_emotion("speech") is None and parse_emotion(None) is None


@pytest.mark.parametrize("text", ["joyful", "1,2,3", "1,2,3,4,5,6,nan", "1,2,3,4,5,6,x"])
def test_a_wrong_emotion_is_refused_with_the_choices(text: str):
    with pytest.raises(UsageError, match="angry, disgust, fear, happy, neutral, sad, surprise"):
        parse_emotion(text)


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("value\n1\n2\n", ((0.0, 1.0), (1.0, 2.0))),
        ("1\n2\n3\n", ((0.0, 1.0, 2.0), (1.0, 2.0, 3.0))),
        ("\ufeffframe,value\n0,1\n25,-1\n", ((0.0, 25.0), (1.0, -1.0))),
    ],
)
def test_curves_are_read_with_and_without_header(tmp_path: Path, body: str, values: tuple):
    path = tmp_path / "curve 1.csv"
    path.write_text(body, encoding="utf-8")
    assert parse_control(f"2={path}") == Control(2, values)
    assert parse_control(f"2=set:{path}").mode == "set"


@pytest.mark.parametrize("body", ["", "value\n", "0,1\n0,2\n", "a\nb\n", "1,2,3\n", "1\nnan\n"])
def test_damaged_curves_are_refused(tmp_path: Path, body: str):
    path = tmp_path / "curve.csv"
    path.write_text(body, encoding="utf-8")
    with pytest.raises(DataError, match="control curve"):
        parse_control(f"2={path}")


@pytest.mark.parametrize("text", ["3", "=1", "x=1", "-1=2", "3=inf"])
def test_malformed_controls_are_refused(text: str):
    with pytest.raises(UsageError):
        parse_control(text)


@pytest.mark.parametrize("given", [("yaw", 1.0), (0, "1"), (0, float("nan")), (0, 1.0, "less")])
def test_controls_made_in_python_are_checked_too(given: tuple):
    with pytest.raises(UsageError):
        Control(*given)


def test_a_missing_curve_is_named():
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        parse_control("3=nowhere.csv")


def test_directions_must_exist_and_be_named_once():
    with pytest.raises(UsageError, match="0 to 19"):
        check_controls((Control(20, 1.0),), 20)
    with pytest.raises(UsageError, match="twice"):
        check_controls((Control(1, 1.0), Control(1, 2.0)), 20)
