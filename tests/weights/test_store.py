"""The registry: names, hashes, the lock file, stamps, imports and fabricated weights."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest

from floatbench import paths, weights
from floatbench.errors import DataError, UsageError
from floatbench.weights import lockfile, store
from floatbench.weights.table import ENTRIES, WeightEntry, WeightFile

CONTENT = b"network" * 1000


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def row(name: str = "tiny", content: bytes | None = CONTENT, **changes) -> WeightEntry:
    values = {
        "name": name,
        "title": "a tiny file",
        "files": (WeightFile("tiny.dat", ("http://localhost/tiny.dat",), digest(content) if content else None),),
        "licence": "MIT",
        "commercial": True,
        "used_by": ("fid",),
        "format": "pickle",
    }
    return WeightEntry(**{**values, **changes})


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch):
    """Replaces the table by the given rows."""

    def use(*rows: WeightEntry) -> None:
        monkeypatch.setattr(store, "ENTRIES", rows)

    return use


def place(name: str = "tiny", file: str = "tiny.dat", content: bytes = CONTENT) -> Path:
    target = paths.weights_dir() / name / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


# the table


def test_names_are_unique_and_fit_for_folders():
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in names)


def test_agreed_names_are_in_the_table():
    agreed = {"inception-fid", "i3d-torchscript", "i3d-400", "arcface-w600k-r50", "scrfd-det-10g", "reconnet-epoch20"}
    agreed |= {
        "syncnet-v2",
        "s3fd-sfd-face",
        "s3fd-face-alignment",
        "mediapipe-face-landmarker",
        "mediapipe-blaze-face",
    }
    agreed |= {"float", "wav2vec2-base-960h", "wav2vec2-speech-emotion", "vgg19", "hsemotion"}
    assert agreed <= set(weights.names())


def test_hashes_sizes_and_addresses_of_the_table_are_well_formed():
    for entry in ENTRIES:
        assert entry.files and entry.licence and entry.used_by
        assert entry.folder or len(entry.files) == 1
        for file in entry.files:
            assert file.urls or "import" in entry.note  # files without an address are imported
            assert all(re.match(r"(https|hf|gdrive)://[^ ]+$", url) for url in file.urls)
            assert all("/blob/" not in url for url in file.urls)
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.size is None or file.size > 0
            assert not Path(file.path).is_absolute() and ".." not in file.path


def test_hash_prefixes_in_file_names_agree_with_the_table():
    prefixed = [
        (found.group(1), file.sha256)
        for entry in ENTRIES
        for file in entry.files
        if (found := re.search(r"-([0-9a-f]{8,10})\.pth$", file.path))
    ]
    assert len(prefixed) >= 3
    assert all(sha256 is not None and sha256.startswith(prefix) for prefix, sha256 in prefixed)


def test_code_bearing_formats_have_a_published_hash():
    assert all(entry.sha256 for entry in ENTRIES if entry.format == "torchscript")


def test_float_names_both_licence_texts():
    licence = weights.entry("float").licence
    assert "CC BY-NC 4.0" in licence and "CC BY-NC-ND 4.0" in licence
    assert not weights.entry("float").commercial


def test_unknown_name_suggests_the_near_one():
    with pytest.raises(UsageError) as error:
        weights.entry("inception-fidd")
    assert error.value.fix is not None and "inception-fid" in error.value.fix


# files


def test_missing_weights_name_the_command_that_fetches_them(table):
    table(row(), row("research", licence="research only", commercial=False))
    with pytest.raises(DataError) as error:
        weights.path("tiny")
    assert error.value.fix == "floatbench weights fetch tiny"
    with pytest.raises(DataError) as error:
        weights.path("research")
    assert error.value.fix == "floatbench weights fetch research --accept-license"
    assert "research only" in error.value.what
    assert not weights.available("tiny")
    assert weights.state("tiny") == "missing"


def test_right_file_in_place_is_used(table):
    table(row())
    target = place()
    assert weights.state("tiny") == "unverified"
    assert weights.path("tiny") == target
    assert weights.sha256("tiny") == digest(CONTENT)
    assert weights.available("tiny") and not weights.is_fabricated("tiny")
    assert weights.state("tiny") == "verified"


def test_wrong_file_under_the_right_name_is_refused_by_name(table):
    table(row())
    target = place(content=b"something else")
    with pytest.raises(DataError, match="'tiny'") as error:
        weights.path("tiny")
    assert str(target) in error.value.what and "published" in error.value.what
    assert error.value.fix == "floatbench weights fetch --force tiny"
    assert weights.state("tiny") == "damaged"


def test_hash_is_recorded_on_first_use_and_held_to_afterwards(table):
    table(row(content=None))
    target = place()
    assert weights.sha256("tiny") == digest(CONTENT)
    lock = json.loads((paths.weights_dir() / "weights.lock.json").read_text())
    assert lock["entries"]["tiny"]["files"]["tiny.dat"] == {"sha256": digest(CONTENT), "size": len(CONTENT)}
    assert lock["entries"]["tiny"]["source"] and lock["entries"]["tiny"]["recorded"]
    target.write_bytes(b"swapped later")
    with pytest.raises(DataError, match="recorded on first use"):
        weights.path("tiny")


def test_lock_file_pins_another_machine(table):
    table(row(content=None))
    place()
    weights.path("tiny")
    pinned = (paths.weights_dir() / "weights.lock.json").read_bytes()
    (paths.weights_dir() / "tiny" / "tiny.dat").write_bytes(b"another version")
    (paths.weights_dir() / "weights.lock.json").write_bytes(pinned)
    with pytest.raises(DataError, match="not the right file"):
        weights.path("tiny")


def test_damaged_lock_file_is_an_error_that_names_it(table):
    table(row(content=None))
    place()
    (paths.weights_dir() / "weights.lock.json").write_text("{")
    with pytest.raises(DataError, match=r"weights\.lock\.json"):
        weights.path("tiny")


def test_unchanged_file_is_hashed_once_and_a_changed_one_again(table, monkeypatch):
    table(row())
    target = place()
    read: list[Path] = []
    real = lockfile.file_sha256
    monkeypatch.setattr(lockfile, "file_sha256", lambda path: read.append(path) or real(path))
    weights.path("tiny")
    weights.path("tiny")
    weights.sha256("tiny")
    assert read == [target]
    lockfile._memory.clear()  # a new process
    weights.path("tiny")
    assert read == [target]
    os.utime(target, ns=(1, 1))
    weights.path("tiny")
    assert read == [target, target]


def test_replaced_file_of_equal_size_and_time_is_noticed(table):
    table(row())
    target = place()
    weights.path("tiny")
    stat = target.stat()
    other = target.with_name("other")
    other.write_bytes(b"x" * len(CONTENT))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(target)
    with pytest.raises(DataError, match="not the right file"):
        weights.path("tiny")


def test_verify_reads_the_file_again(table, monkeypatch):
    table(row())
    target = place()
    weights.path("tiny")
    read: list[Path] = []
    real = lockfile.file_sha256
    monkeypatch.setattr(lockfile, "file_sha256", lambda path: read.append(path) or real(path))
    assert weights.verify("tiny") == {"tiny.dat": digest(CONTENT)}
    assert read == [target]


def test_weights_in_a_folder_nobody_may_write_still_work(table, tmp_path, monkeypatch):
    table(row())
    place()
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FLOATBENCH_CACHE", str(blocked))  # no stamp can be written below a file
    assert weights.path("tiny").is_file()


# folders


def folder_row() -> WeightEntry:
    files = (
        WeightFile("config.json", ("http://localhost/config.json",), digest(b"{}")),
        WeightFile("sub/model.bin", ("http://localhost/model.bin",), digest(CONTENT)),
    )
    return row(files=files, format="folder")


def test_folder_entries_give_their_folder_and_one_hash_over_all_files(table):
    table(folder_row())
    place(file="config.json", content=b"{}")
    assert not weights.available("tiny")
    place(file="sub/model.bin")
    assert weights.path("tiny") == paths.weights_dir() / "tiny"
    text = f"config.json {digest(b'{}')}\nsub/model.bin {digest(CONTENT)}\n"
    assert weights.sha256("tiny") == digest(text.encode())


def test_one_wrong_file_of_a_folder_is_named(table):
    table(folder_row())
    place(file="config.json", content=b"[]")
    place(file="sub/model.bin")
    with pytest.raises(DataError, match=r"config\.json"):
        weights.path("tiny")


# import


def test_import_copies_a_file_with_the_right_hash(table, tmp_path):
    table(row())
    source = tmp_path / "mine.bin"
    source.write_bytes(CONTENT)
    assert weights.import_file("tiny", source).read_bytes() == CONTENT
    assert source.exists()
    assert "imported" in lockfile.read().entries["tiny"].source


def test_import_refuses_a_wrong_file_and_keeps_the_right_one(table, tmp_path):
    table(row())
    place()
    source = tmp_path / "wrong.bin"
    source.write_bytes(b"wrong")
    with pytest.raises(DataError, match=r"wrong\.bin"):
        weights.import_file("tiny", source)
    assert weights.path("tiny").read_bytes() == CONTENT


def test_import_takes_the_archive_of_a_zipped_weight(table, tmp_path):
    file = WeightFile("tiny.dat", ("http://localhost/pack.zip",), digest(CONTENT), member="tiny.dat")
    table(row(files=(file,)))
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("nested/tiny.dat", CONTENT)
    assert weights.import_file("tiny", archive).read_bytes() == CONTENT
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("other.bin", b"")
    with pytest.raises(DataError, match=r"no member tiny\.dat"):
        weights.import_file("tiny", archive)


def test_import_of_a_folder_wants_all_its_files(table, tmp_path):
    table(folder_row())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/model.bin").write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"no config\.json"):
        weights.import_file("tiny", tmp_path)
    (tmp_path / "config.json").write_bytes(b"{}")
    assert weights.import_file("tiny", tmp_path) == paths.weights_dir() / "tiny"


def test_import_of_the_wrong_kind_or_of_nothing_is_refused(table, tmp_path):
    table(row())
    with pytest.raises(UsageError, match="are a file"):
        weights.import_file("tiny", tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        weights.import_file("tiny", tmp_path / "nothing")


# fabricated weights


def make_fake(path: Path, seed: int) -> None:
    path.write_bytes(f"random {seed}".encode())


def make_folder(path: Path, seed: int) -> None:
    (path / "config.json").write_text("{}")
    (path / "model.bin").write_bytes(bytes([seed]))


FAKE = f"{__name__}:make_fake"


def test_fabricated_weights_are_used_only_when_asked_for(table, monkeypatch):
    table(row(fabricate=FAKE))
    made = weights.fabricate("tiny", seed=7)
    assert made == paths.weights_dir() / "fabricated" / "tiny" / "tiny.dat"
    assert not weights.available("tiny") and weights.state("tiny") == "fabricated"
    with pytest.raises(DataError):
        weights.path("tiny")
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    assert weights.available("tiny") and weights.is_fabricated("tiny")
    assert weights.path("tiny") == made and made.read_bytes() == b"random 7"
    assert weights.sha256("tiny") == digest(b"random 7")
    assert lockfile.read().fabricated["tiny"].seed == 7


def test_real_weights_win_over_fabricated_ones(table, monkeypatch):
    table(row(fabricate=FAKE))
    weights.fabricate("tiny")
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    target = place()
    assert weights.path("tiny") == target and not weights.is_fabricated("tiny")


def test_changed_fabricated_file_is_refused(table, monkeypatch):
    table(row(fabricate=FAKE))
    weights.fabricate("tiny").write_bytes(b"changed")
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    with pytest.raises(DataError) as error:
        weights.path("tiny")
    assert error.value.fix == "floatbench weights fabricate tiny"


def test_fabricated_folder_takes_the_fabricators_file_names(table, monkeypatch):
    table(row(files=folder_row().files, format="folder", fabricate=f"{__name__}:make_folder"))
    weights.fabricate("tiny", seed=3)
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    assert (weights.path("tiny") / "model.bin").read_bytes() == b"\x03"


def test_entry_without_a_fabricator_says_so(table):
    table(row())
    with pytest.raises(UsageError, match="no fabricator"):
        weights.fabricate("tiny")


# opening


class _Bomb:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_pickle_with_code_is_refused_before_it_runs(table, monkeypatch):
    content = pickle.dumps({"weight": _Bomb()})
    table(row(content=content))
    place(content=content)
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("the pickle's code ran"))
    with pytest.raises(DataError, match="refused"):
        weights.load_state_dict("tiny")


def test_state_dict_round_trips_through_both_formats(table, tmp_path):
    import torch
    from safetensors.torch import save_file

    tensors = {"a": torch.arange(6.0).reshape(2, 3)}
    torch.save(tensors, tmp_path / "a.pth")
    save_file(tensors, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        content = (tmp_path / name).read_bytes()
        table(row(files=(WeightFile(name, ("http://localhost/a",), digest(content)),)))
        place(file=name, content=content)
        assert torch.equal(weights.load_state_dict("tiny")["a"], tensors["a"])


def test_torchscript_without_a_published_hash_is_not_run(table):
    table(row(content=None, format="torchscript"))
    place()
    with pytest.raises(DataError, match="published hash"):
        weights.load_torchscript("tiny")
