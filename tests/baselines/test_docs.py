"""The worked example of docs/baselines.md is a whole system in less than 60 lines."""

import ast
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from floatbench.baselines import manifest as manifests

DOCUMENT_PATH = Path(__file__).resolve().parents[2] / "docs" / "baselines.md"
DOCUMENT = DOCUMENT_PATH.read_text("utf-8")


def block(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.S)
    assert len(found) == 1
    return found[0]


def test_the_example_is_a_valid_manifest_and_a_driver_in_less_than_60_lines(tmp_path):
    folder = tmp_path / "imtalker"
    folder.mkdir()
    (folder / "manifest.toml").write_text(block("toml"))
    assert manifests.read(folder).proven.furthest == "nothing"
    driver = ast.parse(block("python"))
    classes = [node for node in driver.body if isinstance(node, ast.ClassDef)]
    assert {part.name for part in classes[0].body if isinstance(part, ast.FunctionDef)} >= {"load", "generate"}
    lines = [line for line in (block("toml") + block("python")).splitlines() if line.strip()]
    assert len(lines) < 60


@pytest.mark.peers
def test_the_example_makes_a_clip_from_its_official_clone(tmp_path):
    """The two files as printed, with random weights in the layout that the manifest names."""
    given = {part: os.environ.get(f"FLOATBENCH_{part}_IMTALKER", "") for part in ("SRC", "ENV", "FABRICATED")}
    if not all(given.values()):
        pytest.skip("FLOATBENCH_SRC_IMTALKER, _ENV_ and _FABRICATED_ do not name a clone, an environment and weights")
    folder = tmp_path / "imtalker"
    folder.mkdir()
    (folder / "manifest.toml").write_text(block("toml"))
    (folder / "driver.py").write_text(block("python"))
    (folder / "lock-modern.txt").write_text("")
    environment = {**os.environ, "FLOATBENCH_BASELINES": str(tmp_path), "PYTHONPATH": str(DOCUMENT_PATH.parents[1])}

    def floatbench(*arguments: str) -> str:
        command = [sys.executable, "-m", "floatbench", "baseline", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    places = ["--source", given["SRC"], "--environment", given["ENV"], "--weights", given["FABRICATED"]]
    floatbench("install", "imtalker", "--accept-license", *places)
    report = json.loads(floatbench("check", "imtalker", "--frames", "2", "--device", "cpu", "--json"))
    assert (report["frames"], report["height"], report["width"]) == (2, 512, 512)
    assert sum(report["parameters"].values()) > 150e6 and report["fabricated"]


def test_every_manifest_of_this_repository_is_valid_and_has_what_it_names():
    assert manifests.names()
    for name in manifests.names():
        manifest = manifests.load(name)
        assert (manifest.folder / manifest.driver).is_file()
        assert manifest.source.tree_sha
        for profile in manifest.profiles.values():
            lock = (manifest.folder / profile.lock).read_text()
            assert "--hash=sha256:" in lock
            assert "--index-url" not in lock and "://" not in re.sub(r"(?m)^\s*#.*$", "", lock)


def test_every_certificate_that_is_kept_passed_and_is_of_the_locks_and_the_commit_of_today():
    found = sorted((DOCUMENT_PATH.parents[1] / "results" / "certificates").glob("*.json"))
    with_two = {name for name in manifests.names() if len(manifests.load(name).profiles) > 1}
    assert {path.stem for path in found} == with_two
    for path in found:
        certificate = json.loads(path.read_text())
        manifest = manifests.load(path.stem)
        assert certificate["passed"] and certificate["baseline"] == manifest.id
        assert certificate["inputs"]["commit"] == manifest.source.commit
        difference, gate = certificate["difference"], certificate["gate"]
        assert difference["mean"] < gate["mean"] == 1e-4 and difference["p999"] < gate["p999"] == 5e-3
        for side in certificate["profiles"]:
            lock = manifest.folder / manifest.profile(side["profile"]).lock
            assert side["lock_sha256"] == manifests.file_sha256(lock), (path.name, side["profile"])


def test_the_table_of_what_was_measured_names_known_systems_and_their_size():
    with (DOCUMENT_PATH.parents[1] / "results" / "baselines.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert {row["method"].partition("@")[0] for row in table} == set(manifests.names())
    for row in table:
        assert float(row["load_s"]) > 0 and float(row["seconds_per_frame"]) > 0 and int(row["peak_ram_mb"]) > 0
        assert row["random_weights"] == "True" and int(row["clips"]) >= 1 and row["how"]


def test_the_complexity_table_agrees_with_the_manifests():
    path = Path(__file__).resolve().parents[2] / "results" / "complexity.csv"
    with path.open() as stream:
        table = {(row["method"], row["preset"]): row for row in csv.DictReader(stream)}
    for name in manifests.names():
        checks = manifests.load(name).checks
        if checks.gmac_per_frame is not None:
            assert float(table[name, "protocol"]["gmac_per_frame"]) == checks.gmac_per_frame
