"""Whatever bytes the hosts hand out: the right file at the end, or a clear error and nothing recorded."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from hashlib import sha256

import pytest
import torch
from hosts import Answer, Hosts, cut, file, git_blob, packed, page, redirect, send, status
from safetensors.torch import save

from floatbench import paths, weights
from floatbench.errors import DataError, FloatbenchError
from floatbench.weights import lockfile, store
from floatbench.weights.download import Settings
from floatbench.weights.fetch import fetch
from floatbench.weights.table import WeightEntry, WeightFile

DRAWS = 150
QUICK = Settings(timeout=5.0, attempts=2, pauses=2, sleep=lambda seconds: None)


def tensors(seed: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((60, 50), float(seed)), "bias": torch.arange(60.0) + seed}


def saved(seed: int, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(tensors(seed), stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def onnx(seed: int) -> bytes:
    """The outline of an ONNX model: version, producer, and a graph of one long field."""
    graph = bytes([seed]) * 20_000
    length = bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7 & 0x7F | 0x80, len(graph) >> 14])
    return b"\x08\x07" + b"\x12\x04made" + b"\x3a" + length + graph


CONTAINERS: dict[str, Callable[[int], bytes]] = {
    "net.pth": lambda seed: saved(seed, zipped=True),
    "old.pth": lambda seed: saved(seed, zipped=False),
    "net.safetensors": lambda seed: save(tensors(seed)),
    "net.onnx": onnx,
    "config.json": lambda seed: json.dumps({"hidden_size": seed, "layers": list(range(400))}).encode(),
}


def mangled(draw: random.Random, right: bytes, other: bytes) -> Answer:
    """One misfortune out of those that hosts were seen with, or the file itself."""
    after = draw.randrange(1, len(right))
    foreign = draw.choice(
        [
            b"",
            b'{"error":"Sharing limit exceeded"}',
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
            b"\xef\xbb\xbf<!DOCTYPE html><title>Sign in</title>",
            b'<?xml version="1.0"?><Error><Code>ExpiredToken</Code></Error>',
            b"Not Found",
            right[:after],
            gzip.compress(right, 1),
        ]
    )
    etag = draw.choice(["", '"e"', 'W/"e"'])
    mime = draw.choice(["application/octet-stream", "text/plain", "application/json", "text/html"])
    return draw.choice(
        [
            file(right, etag, content_type=mime),
            file(right, etag),
            packed(right, etag),
            packed(foreign, etag),
            packed(right[:after], etag),
            cut(right, after, etag),
            cut(right, after, etag, stated=False),
            lambda handler: send(handler, 200, {"Content-Type": mime}, foreign, length=draw.random() < 0.5),
            lambda handler: send(handler, 206, {"Content-Range": f"bytes 5-{len(right) - 1}/{len(right)}"}, right[5:]),
            lambda handler: send(handler, 200, {"Content-Encoding": "gzip"}, right),
            page(foreign),
            redirect("https://h.org/login"),
            status(draw.choice([403, 404, 429, 500, 503]), {"Retry-After": "1"}),
            file(other, etag),
        ]
    )


def drawn(draw: random.Random, hosts: Hosts) -> tuple[WeightEntry, bytes, bool]:
    """An entry of one file, its right bytes, and whether something states what they are."""
    path = draw.choice(sorted(CONTAINERS))
    right, other = CONTAINERS[path](1), CONTAINERS[path](2)
    known = draw.choice(["sha256", "git", "hub", "nothing"])
    hosts.answers.clear()
    hosts.at("h.org/login", page(b"<html>sign in</html>"))
    urls = []
    for k in range(draw.choice([1, 2, 3])):
        answers = [mangled(draw, right, right if known == "nothing" else other) for _ in range(3)]
        if known == "hub":
            urls.append(hosts.hub("o/r", path, right, f"{k}" * 40))
            place = next(name for name in reversed(hosts.answers) if name.startswith("cas-bridge"))
            hosts.at(place, *answers)
        else:
            urls.append(hosts.at(f"h{k}.org/{path}", *answers))
    row = WeightFile(
        path,
        tuple(urls),
        sha256=sha256(right).hexdigest() if known == "sha256" else None,
        git_blob=git_blob(right) if known == "git" else None,
    )
    entry = WeightEntry(
        name="drawn", title="drawn", files=(row,), licence="MIT", commercial=True, used_by=("fid",), format="pickle"
    )
    return entry, right, known != "nothing"


def test_the_right_file_or_a_clear_error_and_never_a_recorded_wrong_one(hosts, monkeypatch, tmp_path):
    came = refused = 0
    for seed in range(DRAWS):
        draw = random.Random(seed)
        monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / str(seed)))
        entry, right, _ = drawn(draw, hosts)
        monkeypatch.setattr(store, "ENTRIES", (entry,))
        target = paths.weights_dir() / "drawn" / entry.files[0].path
        for _ in range(2):  # the same command once more goes on from what has arrived
            try:
                got = fetch("drawn", how=QUICK)
            except FloatbenchError as error:
                assert isinstance(error, DataError) and "\n" not in error.what and error.fix, seed
                assert not target.exists() and "drawn" not in lockfile.read().entries, seed
                refused += 1
                continue
            assert got.path.read_bytes() == right, seed
            assert lockfile.read().entries["drawn"].files[target.name].sha256 == sha256(right).hexdigest()
            came += 1
            break
    assert came > DRAWS / 4 and refused > DRAWS / 4  # both ends are really met


@pytest.mark.parametrize("path", sorted(CONTAINERS))
def test_import_and_first_use_refuse_what_cannot_be_the_file(path, monkeypatch, tmp_path):
    right = CONTAINERS[path](1)
    row = WeightFile(path, ("https://h.org/x",))
    entry = WeightEntry("drawn", "drawn", (row,), "MIT", True, ("fid",), "pickle")
    monkeypatch.setattr(store, "ENTRIES", (entry,))
    source, target = tmp_path / path, paths.weights_dir() / "drawn" / path
    target.parent.mkdir(parents=True)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
    for wrong in (b"", pointer, b"<!DOCTYPE html>", b'{"error":"no"}', right[: len(right) // 2], right[:-1]):
        source.write_bytes(wrong)
        with pytest.raises(DataError):
            weights.import_file("drawn", source)
        assert not target.exists()
        target.write_bytes(wrong)
        with pytest.raises(DataError):
            weights.path("drawn")
        target.unlink()
        assert "drawn" not in lockfile.read().entries
    source.write_bytes(right)
    assert weights.import_file("drawn", source).read_bytes() == right
