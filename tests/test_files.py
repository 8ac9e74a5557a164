"""Files are whole or absent, and equal content gives equal bytes."""

from __future__ import annotations

import os
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from floatbench.files import atomic_path, file_sha256, write_bytes, write_safetensors

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


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_who_may_read_a_file_is_what_the_umask_says_whatever_wrote_it(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_safetensors(tmp_path / "tensors", TENSORS, METADATA)
        write_bytes(tmp_path / "bytes", b"x")
        with atomic_path(tmp_path / "program") as partial:
            partial.touch(0o700)
            partial.chmod(0o700)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"tensors": mode, "bytes": mode, "program": mode | 0o100}
