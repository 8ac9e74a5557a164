"""Lips of a face that is not painted: found where they are drawn, closed at rest, parted as the jaw falls."""

from __future__ import annotations

import pytest
import torch

from floatbench.model.config import FACES
from floatbench.model.face_reader import NOWHERE, on_front
from floatbench.model.lips import FAINTEST, JAW, PRESS, line_between_lips, lips, parted

SIZE = 128
POSE = torch.tensor([[0.1, -0.05, 0.03, 0.02, 0.01, 0.0]])


def drawn(height: float, middle: float = 0.0, bend: float = 0.0, pose: torch.Tensor = POSE) -> torch.Tensor:
    """(1, 3, R, R): plain skin with a dark line of a mouth's width."""
    x, y = on_front(pose, SIZE)[:, None].unbind(-1)
    off = (y - height - bend * (x - middle).square()).abs() / 0.03
    dark = torch.exp(-off.square()) * ((x - middle).abs() < 0.22)
    return torch.tensor([0.5, 0.2, 0.1])[:, None, None] * (1 - dark) - 0.6 * dark


def line(height: float, **where: float) -> torch.Tensor:
    return lips(drawn(height, **where), POSE)


def faces(**numbers: float) -> torch.Tensor:
    made = torch.zeros(1, FACES)
    for name, value in numbers.items():
        made[0, {"jaw": JAW, "press": PRESS}[name]] = value
    return made


def still() -> torch.Tensor:
    axis = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)[None]


@pytest.mark.parametrize(
    ("height", "middle", "bend"), [(-0.5, 0.0, 0.0), (-0.42, 0.08, 0.3), (-0.6, -0.12, 0.6), (-0.38, 0.0, 0.9)]
)
def test_a_dark_line_is_found_where_it_was_drawn(height, middle, bend):
    found, depth = line_between_lips(drawn(height, middle, bend), POSE)
    assert depth > FAINTEST
    assert abs(float(found[0, 0]) - height) <= 0.025  # a pixel is 0.02
    assert abs(float(found[0, 3]) - middle) <= 0.06  # its ends are all that tell


def test_where_no_lips_are_seen_nothing_opens():
    plain = torch.zeros(1, 3, SIZE, SIZE)
    mouth = lips(plain, POSE)
    assert (mouth[:, :2] == NOWHERE).all()
    assert torch.equal(parted(plain, still(), faces(jaw=1.0), faces(), mouth), plain)


def test_lips_part_as_far_as_the_jaw_hangs_lower_than_in_the_source():
    picture, mouth = drawn(-0.5), line(-0.5)
    shown = [parted(picture, still(), faces(jaw=jaw), faces(jaw=0.1), mouth) for jaw in (0.0, 0.1, 0.3, 0.6)]
    changed = [int(((made - picture).abs().amax(1) > 0.1).sum()) for made in shown]
    assert torch.equal(shown[0], picture) and torch.equal(shown[1], picture)
    assert 0 < changed[2] < changed[3]
    x, y = on_front(POSE, SIZE)[0].unbind(-1)
    away, inside = (y + 0.5).abs() > 0.12, ((y + 0.5).abs() < 0.03) & (x.abs() < 0.05)
    assert torch.equal(shown[3][..., away], picture[..., away])
    assert shown[3][..., inside].mean() < picture[..., inside].mean() - 0.1


def test_pressed_lips_stay_closed():
    picture, mouth = drawn(-0.5), line(-0.5)
    assert torch.equal(parted(picture, still(), faces(jaw=0.5, press=1.0), faces(), mouth), picture)


def test_the_opening_moves_with_what_the_flow_moves():
    picture, mouth, lower = drawn(-0.5), line(-0.5), still()
    lower[..., 1] -= 16 / SIZE  # every pixel comes from eight rows further up
    there = parted(picture, still(), faces(jaw=0.6), faces(), mouth) - picture
    here = parted(picture, lower, faces(jaw=0.6), faces(), mouth) - picture
    rows = [(part.abs().amax((0, 1, 3)) > 0.1).nonzero().float().mean() for part in (there, here)]
    assert rows[1] - rows[0] == pytest.approx(8, abs=1)
