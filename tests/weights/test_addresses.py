"""Every address of the table and of the baselines: what it must say for the file behind it to be the right one."""

from __future__ import annotations

import re

import pytest

from floatbench.baselines import manifest
from floatbench.weights.download import resolve
from floatbench.weights.hub import is_hub
from floatbench.weights.table import ENTRIES

SYSTEMS = ("anitalker", "echomimic", "edtalk", "float-official", "hallo", "sadtalker")
OURS = [
    (f"{entry.name}/{file.path}", file.urls, file.sha256 or file.git_blob) for entry in ENTRIES for file in entry.files
]
THEIRS = [
    (f"{name}/{weight.path}", weight.origins, weight.sha256)
    for name in SYSTEMS
    for weight in manifest.load(name).weights
]
ALL = OURS + THEIRS


def test_there_is_no_file_without_an_address():
    assert len(THEIRS) > 40 and len(OURS) > 20
    assert [name for name, urls, _ in ALL if not urls] == []


UNSTATED = {"vjepa-vith16/vith16.pth.tar", "vjepa-ssv2-probe/ssv2-probe.pth.tar"}
"""Files of their authors' own host of which nobody published a hash: docs/weights.md says so."""


def test_something_states_what_every_file_is():
    """A published hash, or git's id, or the hub's own statement under a revision that cannot move."""
    for name, urls, known in ALL:
        if name in UNSTATED:
            assert not known and all(url.startswith("https://dl.fbaipublicfiles.com/") for url in urls)
            continue
        pinned = all(re.match(r"hf://[^@]+@[0-9a-f]{40}/", url) for url in urls)
        assert known or pinned, name


def test_revisions_are_whole_or_the_hash_decides():
    """The hub promises nothing for short revisions, and a branch moves."""
    for name, urls, known in ALL:
        for url in urls:
            revision = re.match(r"hf://[^@]+@([^/]+)/", url)
            if url.startswith("hf://"):
                assert revision is not None, name
                assert re.fullmatch(r"[0-9a-f]{40}", revision.group(1)) or (known and revision.group(1) == "main"), name
            assert not re.search(r"github\.com/.*/raw/(?:main|master)/", url) or known, name


def test_spaces_and_data_sets_of_the_hub_have_addresses(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    at = "a" * 40
    assert resolve(f"hf://spaces/o/r@{at}/d/f.pt") == f"https://huggingface.co/spaces/o/r/resolve/{at}/d/f.pt"
    assert resolve(f"hf://datasets/o/r@{at}/f.zip") == f"https://huggingface.co/datasets/o/r/resolve/{at}/f.zip"
    assert all(is_hub(resolve(url)) for _, urls, _ in ALL for url in urls if url.startswith("hf://"))


@pytest.mark.parametrize(
    ("file", "address"),
    [
        ("edtalk/ckpts/Audio2Lip.pt", "/tanshuai0219/EDTalk/resolve/c9a502ee3585d01042c3b6da730a62416e7fc76a/ckpts/"),
        ("edtalk/ckpts/EDTalk_lip_pose.pt", "/c9a502ee3585d01042c3b6da730a62416e7fc76a/ckpts/EDTalk_lip_pose.pt"),
        (
            "edtalk/ckpts/EDTalk_lip_pose.pt",
            "google.com/download?id=1XkCWeph0LvQfpWb2mO4YhfUVE3qay71Z",
        ),
    ],
)
def test_edtalks_files_lie_below_ckpts(file, address, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    (urls,) = [urls for name, urls, _ in ALL if name == file]
    assert any(address in resolve(url) for url in urls)


def test_files_that_lay_at_one_address_have_another():
    by_name = {name: urls for name, urls, _ in OURS}
    for name in (
        "reconnet-epoch20/epoch_20.pth",
        "syncnet-v2/syncnet_v2.model",
        "s3fd-sfd-face/sfd_face.pth",
        "arcface-torch-r50/backbone.pth",
        "arcface-torch-r100/backbone.pth",
        "i3d-torchscript/i3d_torchscript.pt",
        "wav2vec2-base-960h/model.safetensors",
        "float/float.pth",
    ):
        hosts = {resolve(url).split("/")[2] + resolve(url).split("/")[3] for url in by_name[name]}
        assert len(hosts) > 1, name
    # the certificate of Oxford's server is reported broken: it is asked last
    assert all("robots.ox.ac.uk" not in urls[0] for urls in by_name.values())


def test_one_file_under_two_roofs_is_held_to_one_hash():
    """The official baseline asks for files that the table knows."""
    known = {name.rpartition("/")[2]: sha256 for name, _, sha256 in OURS if name.startswith(("float/", "s3fd-face"))}
    theirs = {name.rpartition("/")[2]: sha256 for name, _, sha256 in THEIRS if name.startswith("float-official/")}
    assert known and all(theirs[name] == sha256 for name, sha256 in known.items())
    base = {name.rpartition("/")[2]: sha256 for name, _, sha256 in OURS if name.startswith("wav2vec2-base")}
    found = {name.rpartition("/")[2]: sha256 for name, _, sha256 in THEIRS if "wav2vec2-base-960h/" in name and sha256}
    assert base == {**base, **found} and len(found) == 3
