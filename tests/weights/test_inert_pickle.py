"""A checkpoint that holds more than tensors: they are read, nothing else is made, and nothing in it is run."""

import os
from collections import OrderedDict

import pytest
import torch

from floatbench.weights import inert_pickle


class Configuration:
    def __init__(self):
        self.content = {"a": [1, 2]}


class Trap:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_tensors_are_read_and_foreign_objects_are_not_made(tmp_path):
    state = OrderedDict(a=torch.arange(6.0).view(2, 3), b=torch.nn.Parameter(torch.ones(2, dtype=torch.float16)))
    file = tmp_path / "a.pt"
    torch.save({"model": state, "args": Configuration(), "epoch": 3, "steps": [Configuration()]}, file)
    found = inert_pickle.load(file)
    assert torch.equal(found["model"]["a"], state["a"]) and torch.equal(found["model"]["b"], state["b"])
    assert found["epoch"] == 3 and isinstance(found["args"], inert_pickle.Inert)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(file, weights_only=True)


def test_what_a_file_asks_to_be_called_is_not_called(tmp_path):
    torch.save({"model": {"a": torch.ones(1)}, "args": Trap(tmp_path / "made")}, tmp_path / "a.pt")
    assert torch.equal(inert_pickle.load(tmp_path / "a.pt")["model"]["a"], torch.ones(1))
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "made").exists()  # the file would have made it
