"""The published files' own entries, from public facts: they load, and fabricated files are made in their form."""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from floatbench import weights
from floatbench.errors import FloatbenchError
from floatbench.metrics import (
    arcface,
    clip_vision,
    i3d,
    inception,
    lpips,
    network,
    reconnet,
    s3fd,
    synchformer,
    syncnet,
    video_features,
    video_transformer,
)
from floatbench.weights import key_lists, kinds
from floatbench.weights.table import ENTRIES

TORCH = ("float32", "int64", "float16")
BYTES = {"float32": 4, "int64": 8, "float16": 2}


def _vgg19() -> nn.Module:
    from torchvision.models import vgg19

    return vgg19(weights=None)


def _alexnet() -> nn.Module:
    from torchvision.models import alexnet

    return alexnet(weights=None)


def _lpips_heads() -> nn.Module:
    """The package's five layers under their names: a dropout and a convolution each."""
    layers = {f"lin{k}": nn.ModuleDict({"model": nn.Sequential(nn.Dropout(), nn.Conv2d(width, 1, 1, bias=False))})
              for k, width in enumerate(lpips.WIDTHS)}  # fmt: skip
    return nn.ModuleDict(layers)


def _face_alignment() -> nn.Module:
    from face_alignment.detection.sfd.net_s3fd import s3fd as build

    return build()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "inception-fid": inception.build_inception,
    "i3d-400": i3d.I3DNetwork,
    "arcface-torch-r50": lambda: arcface.IResNet(arcface.R50),
    "arcface-torch-r100": lambda: arcface.IResNet(arcface.R100),
    "reconnet-epoch20": reconnet.ReconNet,
    "syncnet-v2": syncnet.SyncNet,
    "s3fd-sfd-face": s3fd.S3FDNet,
    "s3fd-face-alignment": _face_alignment,
    "vgg19": _vgg19,
    "alexnet": _alexnet,
    "lpips-alex": _lpips_heads,
    "clip-vit-l14-336": clip_vision.build,
    "videomae-g-ssv2": video_transformer.VideoMAE,
    "vjepa-vith16": video_transformer.VJEPA,
    "vjepa-ssv2-probe": video_transformer.AttentiveProbe,
    "synchformer": synchformer.Synchformer,
}
OWN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "clip-vit-l14-336": clip_vision.vision_state,
    **{name: partial(video_features.published_state, name) for name in video_features.UNDER},
}
"""What a loader makes of a file's entries before the network takes them."""


def listed(name: str) -> key_lists.KeyList:
    found = key_lists.read(name)
    assert found is not None
    return found


def test_every_list_names_its_source_and_belongs_to_the_table():
    known = {entry.name for entry in ENTRIES}
    assert set(NETWORKS) <= set(key_lists.names()) <= known
    for name in NETWORKS:
        facts = listed(name).facts  # the three of FLOAT: tests/model/test_published_weights.py
        assert len(facts["source"]) > 40 and facts["container"] in ("torch-legacy", "torch-zip"), name
        assert {dtype for _, dtype in listed(name).entries.values()} <= set(TORCH)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_list_and_the_published_size_belong_together(name):
    """A container adds some tens of bytes an entry and nothing else; whole layers more or less would show."""
    entry = weights.entry(name)
    if entry.size is None:
        pytest.skip("the exact size is not public")
    found = listed(name)
    tensors = sum(math.prod(shape) * BYTES[dtype] for shape, dtype in found.entries.values())
    if "opt_00" in found.beside:  # two moments for each parameter, statistics have none
        parameters = [
            shape for key, (shape, dtype) in found.entries.items() if "running" not in key and dtype == "float32"
        ]
        tensors += 2 * 4 * sum(map(math.prod, parameters))
    if name == "synchformer":  # its feature extractors were frozen, so that only the rest has moments
        trained = [math.prod(shape) for key, (shape, _) in found.entries.items() if "extractor" not in key]
        tensors += 2 * 4 * sum(trained)
    copies = 3 if found.beside else 1
    assert 0 < entry.size - tensors < 500 * copies * len(found.entries)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_our_network_takes_exactly_the_published_entries(name):
    """On no device, so that nothing is computed or allocated. Only batch counters may be absent from an old file."""
    with torch.device("meta"):
        built = NETWORKS[name]()
    state = {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for key, (shape, dtype) in listed(name).entries.items()
    }
    network.load_strictly(_Assigning(built), OWN.get(name, dict)(state), name)


class _Assigning(nn.Module):
    """Takes tensors without a device: `assign` in place of a copy, as strict as before."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def load_state_dict(self, state_dict, strict=True, assign=False):
        return self.inner.load_state_dict(state_dict, strict=strict, assign=True)


def globals_in(pickled: Any) -> set[str]:
    return {str(found).replace(" ", ".") for code, found, _ in pickletools.genops(pickled) if code.name == "GLOBAL"}


def pickle_names(path: Path) -> set[str]:
    """The globals that a torch file's pickles name, as the hub's scan shows them."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as opened:
            return globals_in(next(opened.read(name) for name in opened.namelist() if name.endswith("data.pkl")))
    with path.open("rb") as stream:  # magic number, protocol, system, tensors
        return set().union(*(globals_in(stream) for _ in range(4)))


FLOATS = {"torch.FloatStorage", "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"}
LOADED = {
    "inception-fid": FLOATS - {"collections.OrderedDict"} | {"torch.LongStorage"},
    "i3d-400": FLOATS,
    "syncnet-v2": FLOATS,
    "s3fd-sfd-face": {"torch.FloatStorage", "collections.OrderedDict", "torch._utils._rebuild_tensor"},
    "reconnet-epoch20": FLOATS | {"torch.LongStorage"},
}
BACKBONES: dict[str, Callable[[], Any]] = {
    "inception-fid": inception.Inception,
    "i3d-400": i3d.BACKBONES["i3d"],
}


@pytest.mark.parametrize("name", sorted(LOADED))
def test_a_fabricated_file_has_the_form_of_the_published_one_and_loads(name, monkeypatch):
    """Pickle names as the hub's scan lists them for the published file."""
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    path = weights.fabricate(name)
    found = listed(name)
    assert pickle_names(path) == LOADED[name]
    assert zipfile.is_zipfile(path) == (found.facts["container"] == "torch-zip")
    assert kinds.refusal(path, weights.entry(name).files[0].path) is None
    document = weights.load_state_dict(name)
    inside = document[found.facts["under"]] if "under" in found.facts else document
    assert list(inside) == list(found.entries)
    assert set(found.beside) == set(document) - {found.facts["under"]} if "under" in found.facts else True
    if name in BACKBONES:
        BACKBONES[name]().load()
    else:
        state = reconnet.official_state(document) if name.startswith("reconnet") else document
        network.load_strictly(NETWORKS[name](), state, name)


def test_a_network_that_lacks_a_published_entry_is_found_out(tmp_path):
    state = {key: torch.zeros(shape) for key, (shape, dtype) in listed("syncnet-v2").entries.items()}
    first = next(iter(state))
    torch.save({key: tensor for key, tensor in state.items() if key != first}, tmp_path / "a.model")
    with pytest.raises(FloatbenchError, match=re.escape(first)):
        key_lists.conform("syncnet-v2", tmp_path / "a.model")
    state[first] = torch.zeros(3)
    torch.save(state, tmp_path / "a.model")
    with pytest.raises(FloatbenchError, match=re.escape(first)):
        key_lists.conform("syncnet-v2", tmp_path / "a.model")


def test_files_of_training_runs_name_what_is_ignored():
    """Deep3DFaceRecon's epoch_20.pth holds its optimiser and its schedule beside the network."""
    assert listed("reconnet-epoch20").beside == ("opt_00", "sched_00")
    tensors = {"backbone.conv1.weight": torch.zeros(1)}
    document = {"net_recon": tensors, "opt_00": {"state": {}}, "sched_00": {"last_epoch": 20}}
    assert reconnet.official_state(document) == tensors
