"""Rows of channels are warped as grid_sample warps planes, to the last bit where both round alike."""

from __future__ import annotations

import pytest
import torch
from tolerances import worst_rounding
from torch.nn import functional as F

from floatbench.model.warping import bordered, warp_rows


def scene(size: int, batch: int, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A map (1, 24, size, size) and coordinates (batch, size, size, 2) as far as `reach`."""
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 24, size, size, generator=generator)
    return feature, reach * (2 * torch.rand(batch, size, size, 2, generator=generator) - 1)


@pytest.mark.parametrize("reach", [0.9, 1.0, 1.4, 5.0])
@pytest.mark.parametrize(("size", "batch"), [(8, 1), (64, 3)])
def test_rows_are_warped_as_planes_are_within_the_picture_and_beyond(size, batch, reach):
    feature, coordinates = scene(size, batch, reach)
    expected = F.grid_sample(feature.expand(batch, -1, -1, -1), coordinates, align_corners=False)
    found = warp_rows(bordered(feature), coordinates)
    assert found.shape == expected.shape and found.is_contiguous(memory_format=torch.channels_last)
    # both find a place to a rounding of its coordinate, and between neighbours a map changes by less than 10 a pixel
    place = worst_rounding(3, size)
    torch.testing.assert_close(found, expected, rtol=0, atol=10 * place + worst_rounding(4, 10))


def test_corners_edges_and_places_just_beyond_them_are_exact():
    size = 16
    feature, _ = scene(size, 1, 1.0)
    edges = torch.tensor([-1 - 1.5 / size, -1 - 1 / size, -1.0, -1 + 1 / size, 0.0, 1 - 1 / size, 1.0, 1 + 1 / size])
    coordinates = torch.stack(torch.meshgrid(edges, edges, indexing="xy"), dim=-1)[None]
    expected = F.grid_sample(feature, coordinates, align_corners=False)
    assert torch.equal(warp_rows(bordered(feature), coordinates), expected)
    assert torch.count_nonzero(expected[..., 0, :]) == 0  # the case is there: wholly beyond the border


def test_coordinates_that_are_no_numbers_show_and_do_not_read_elsewhere():
    feature, coordinates = scene(8, 1, 1.0)
    coordinates[0, 2, 3, 0], coordinates[0, 4, 5, 1] = float("nan"), float("inf")
    found = warp_rows(bordered(feature), coordinates)
    assert found[0, :, 2, 3].isnan().all() and not found[0, :, 2, 4].isnan().any()
    assert torch.count_nonzero(found[0, :, 4, 5]) == 0  # infinitely far is beyond the border
