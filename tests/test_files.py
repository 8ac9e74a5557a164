"""Files are whole or absent, and equal content gives equal bytes."""

from __future__ import annotations

import torch
from safetensors import safe_open
from safetensors.torch import save

from floatbench.files import file_sha256, write_safetensors

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.float16)}
METADATA = {"licence": 'ours: "quoted", with é and \n', "config": "{}", "source": "x" * 300, "notes": ""}


def test_equal_tensors_and_metadata_give_equal_bytes_that_the_library_reads(tmp_path):
    for number in range(12):
        write_safetensors(tmp_path / f"{number}.safetensors", TENSORS, METADATA)
    assert len({file_sha256(path) for path in tmp_path.iterdir()}) == 1
    assert len({save(TENSORS, METADATA) for _ in range(12)}) > 1  # what the library alone would do
    with safe_open(tmp_path / "0.safetensors", framework="pt") as stream:
        assert stream.metadata() == METADATA
        for name, tensor in TENSORS.items():
            assert torch.equal(stream.get_tensor(name), tensor)


def test_no_metadata_is_fine(tmp_path):
    write_safetensors(tmp_path / "plain.safetensors", TENSORS)
    assert (tmp_path / "plain.safetensors").read_bytes() == save(TENSORS)
