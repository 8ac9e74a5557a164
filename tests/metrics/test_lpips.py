"""LPIPS equals the authors' package on equal weights, with its own learned weights."""

from __future__ import annotations

from pathlib import Path

import lpips as package
import numpy as np
import pytest
import torch

from floatbench import weights
from floatbench.errors import ClipError, DataError
from floatbench.files import file_sha256
from floatbench.metrics import lpips, registry
from floatbench.metrics.network import seeded_state
from floatbench.types import ClipMedia

HEADS = Path(package.__file__).parent / "weights" / "v0.1" / "alex.pth"


def seeded_alexnet():
    """The convolutions alone: what LPIPS reads of torchvision's file."""
    network = lpips.AlexLpips()
    return {key: value for key, value in seeded_state(network, 3).items() if key.startswith("features.")}


@pytest.fixture(scope="module")
def both():
    """Ours and the package's, with the same seeded AlexNet and the package's own learned weights."""
    alexnet, heads = seeded_alexnet(), torch.load(HEADS, map_location="cpu", weights_only=True)
    ours = lpips.AlexLpips()
    ours.load_state_dict(lpips.joined_state(alexnet, heads), strict=True)
    theirs = package.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    slices = {int(key.split(".")[1]): None for key in alexnet}
    for part in (theirs.net.slice1, theirs.net.slice2, theirs.net.slice3, theirs.net.slice4, theirs.net.slice5):
        for position in slices:
            layer = getattr(part, str(position), None)
            if layer is not None:
                layer.weight.data = alexnet[f"features.{position}.weight"]
                layer.bias.data = alexnet[f"features.{position}.bias"]
    return ours.eval(), theirs.eval()


def pictures(seed, size=(72, 88)):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (2, 3, *size)).astype(np.float32))


@pytest.mark.parametrize("size", [(64, 64), (72, 88), (133, 97)])
def test_distances_are_those_of_the_package(both, size):
    ours, theirs = both
    x, y = pictures(1, size), 0.7 * pictures(1, size) + 0.3 * pictures(2, size)
    with torch.no_grad():
        found, wanted = ours(x, y), theirs(x, y).reshape(-1)
        assert found.numpy() == pytest.approx(wanted.numpy(), rel=1e-5, abs=1e-8)
        assert found.min() > 1e-4 and ours(x, x).tolist() == [0, 0]


def test_the_wheel_holds_the_registered_weights_and_ours_loads_them():
    assert file_sha256(HEADS) == weights.entry("lpips-alex").sha256
    state = lpips.joined_state(seeded_alexnet(), torch.load(HEADS, map_location="cpu", weights_only=True))
    lpips.AlexLpips().load_state_dict(state, strict=True)
    assert all((state[f"heads.{k}"] >= 0).all() for k in range(5))


@pytest.fixture
def loaded(both, monkeypatch):
    backbone = registry.backbone("lpips-alex")
    monkeypatch.setattr(backbone, "state", lambda: both[0].state_dict())
    backbone.load()
    return backbone


def test_frames_go_in_from_minus_one_to_one_and_batches_change_nothing(both, loaded):
    rng = np.random.default_rng(4)
    made, real = (rng.integers(0, 256, (5, 64, 80, 3), dtype=np.uint8) for _ in range(2))
    found = loaded.extract_pair(ClipMedia(made), ClipMedia(real))
    whole = [torch.from_numpy(side).permute(0, 3, 1, 2).float() / 127.5 - 1 for side in (made, real)]
    with torch.no_grad():
        wanted = both[1](*whole).reshape(-1).numpy()
    assert found["lpips"] == pytest.approx(wanted, rel=1e-5)
    loaded.batch = 2
    assert loaded.extract_pair(ClipMedia(made), ClipMedia(real))["lpips"] == pytest.approx(found["lpips"], rel=1e-5)
    assert (loaded.extract_pair(ClipMedia(real), ClipMedia(real))["lpips"] == 0).all()


def test_pictures_below_the_networks_least_size_fail_their_clip_and_the_least_size_works(loaded):
    clip = lambda side: ClipMedia(np.zeros((1, side, side, 3), np.uint8))  # noqa: E731
    assert loaded.extract_pair(clip(lpips.SMALLEST), clip(lpips.SMALLEST))["lpips"].tolist() == [0]
    with pytest.raises(ClipError, match="31 pixels are needed"):
        loaded.extract_pair(clip(30), clip(30))


def test_without_its_weights_it_names_the_command():
    with pytest.raises(DataError, match="alexnet") as failed:
        registry.backbone("lpips-alex").load()
    assert "floatbench weights fetch" in (failed.value.fix or "")
