"""The offline variants keep the control table on synthetic people they never saw, and only with their own weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from floatbench.engine.control_rules import check_controls
from floatbench.engine.records import MetricRecord, ScoreRow
from floatbench.errors import ClipError
from floatbench.media import read_video
from floatbench.methods.controls import FrozenControl, FrozenReencodedControl, ReencodedControl, ShiftedControl
from floatbench.methods.method import ClipRequest, Method
from floatbench.metrics import registry, tiny
from floatbench.metrics import tiny_networks as networks
from floatbench.metrics.base import Pair
from floatbench.metrics.network import seeded_state
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip
from floatbench.synthetic.expression import EXPRESSION
from floatbench.synthetic.renderer import renderer
from floatbench.training.backbone_metrics import r2
from floatbench.types import ClipMedia

PEOPLE = 6
Controls = dict[str, list[ClipMedia]]


@pytest.fixture(scope="module")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Controls:
    """The media of every control system for one clip of each of some held-out people, 3 s at 128 px."""
    folder = tmp_path_factory.mktemp("controls")
    real = [SyntheticClip(TEST_FIRST + i, 0, 3.0).media(128) for i in range(PEOPLE)]
    made: Controls = {"reference": real}
    stills = FrozenControl(), FrozenReencodedControl()
    for method in (*stills, ReencodedControl(), ShiftedControl(5), ShiftedControl(20)):
        made[method.name] = [_generate(method, clip, folder / f"{i}") for i, clip in enumerate(real)]
    others = real[1:] + real[:1]
    firsts = [real[1], *[real[0]] * (PEOPLE - 1)]  # as the engine chooses: the first clip of somebody else
    made["swapped"] = [ClipMedia(clip.frames, other.audio) for clip, other in zip(real, others, strict=True)]
    made["wrong-identity"] = firsts
    return made


def _generate(method: Method, clip: ClipMedia, folder: Path) -> ClipMedia:
    folder.mkdir(exist_ok=True)
    result = method.generate(
        ClipRequest("c", "c", clip.frames[0], clip.audio, clip.n_frames, 0, folder, reference=clip)
    )
    if result.media is not None:
        return ClipMedia(result.media.frames, result.media.audio if result.audio is None else result.audio)
    frames = clip.frames if result.video is None else read_video(result.video)[0]
    return ClipMedia(frames, clip.audio if result.audio is None else result.audio)


def _features(media: list[ClipMedia], names: set[str]) -> list[dict[str, dict[str, np.ndarray]]]:
    backbones = {name: tiny.BACKBONES[name]() for name in names}
    for backbone in backbones.values():
        backbone.load()
    return [{name: backbone.extract(clip) for name, backbone in backbones.items()} for clip in media]


def _pairs(generated: list, reference: list, source: list) -> list[Pair]:
    def loader(i: int) -> Callable[[str, str], dict[str, np.ndarray]]:
        sides = {"generated": generated[i], "reference": reference[i], "source": source[i]}
        return lambda side, name: sides[side][name]

    return [Pair(f"clip-{i}", f"person-{i}", loader(i)) for i in range(len(generated))]


def _broken(controls: Controls, variants: list[str]) -> list[str]:
    """The rules of the control table that the variants break, as ``variant: rule (detail)``."""
    metrics = {name: tiny.METRICS[name]() for name in variants}
    names = {b for metric in metrics.values() for b in metric.info.backbones}
    features = {name: _features(media, names) for name, media in controls.items()}
    pictures = names - {"tiny-lips", "tiny-sound", "tiny-clips"}
    source = _features([ClipMedia(clip.frames[:1]) for clip in controls["reference"]], pictures)
    records, cells = {}, []
    for name, metric in metrics.items():
        info = metric.info
        records[name] = MetricRecord(
            id=name, column=info.column, higher_is_better=info.higher_is_better, level=info.level, tiny=True,
            backbones={}, weights={}, licences={},
        )  # fmt: skip
        for control, generated in features.items():
            score = metric.reduce(_pairs(generated, features["reference"], source))
            assert not score.failures
            cells.append(
                ScoreRow(
                    method=control, metric=name, column=info.column, value=score.value, n=score.n, n_available=PEOPLE,
                    n_protocol=PEOPLE,
                )
            )  # fmt: skip
    checks = check_controls(records, cells)
    assert {check.metric for check in checks} == set(variants)
    return [f"{check.metric}: {check.rule} ({check.detail})" for check in checks if not check.held]


def test_every_offline_column_keeps_the_control_table(controls):
    assert _broken(controls, sorted(tiny.METRICS)) == []


@contextmanager
def _random_weights(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    real = tiny.load_network

    def load(wanted: str):
        network = real(wanted)
        if wanted == name:
            network.load_state_dict(seeded_state(network, 3))
        return network

    with monkeypatch.context() as patch:
        patch.setattr(tiny, "load_network", load)
        yield


def test_random_sync_weights_break_the_control_table(controls, monkeypatch):
    with _random_weights(monkeypatch, "tiny-sync"):
        assert _broken(controls, ["lse-tiny-c", "lse-tiny-d"])


def test_random_identity_weights_break_the_control_table(controls, monkeypatch):
    with _random_weights(monkeypatch, "tiny-identity"):
        assert any("below half of reference" in rule for rule in _broken(controls, ["csim-tiny"]))


def _scores(controls: Controls, metric: str) -> dict[str, float]:
    made = tiny.METRICS[metric]()
    features = {name: _features(media, set(made.info.backbones)) for name, media in controls.items()}
    score = {name: made.reduce(_pairs(mine, features["reference"], mine)).value for name, mine in features.items()}
    return {name: value for name, value in score.items() if value is not None}


def test_clip_features_tell_motion_more_than_people_but_not_with_random_weights(controls, monkeypatch):
    """Random features find a still far away, too, so that the table alone cannot tell them from trained ones."""

    def motion_share() -> float:
        score = _scores({name: controls[name] for name in ("reference", "frozen", "wrong-identity")}, "fvd-tiny")
        return score["frozen"] / score["wrong-identity"]

    trained = motion_share()
    with _random_weights(monkeypatch, "tiny-clips"):
        assert motion_share() < 0.5 * trained


def _expression_r2(media: list[ClipMedia]) -> np.ndarray:
    """Share of the variance of every coefficient that is read from people never seen."""
    truth = np.concatenate([SyntheticClip(TEST_FIRST + i, 0, 3.0).expression for i in range(PEOPLE)])
    guess = np.concatenate([c["tiny-expression"]["expression"] for c in _features(media, {"tiny-expression"})])
    return r2(truth, guess)


def test_the_face_is_read_from_people_never_seen_but_not_by_random_weights(controls, monkeypatch):
    shares = _expression_r2(controls["reference"])
    assert shares.mean() > 0.5 and shares[EXPRESSION.index("jaw")] > 0.7
    with _random_weights(monkeypatch, "tiny-expression"):
        assert _expression_r2(controls["reference"]).mean() < 0


def test_a_turned_head_is_unwrapped_as_if_it_looked_straight_ahead():
    """Its face lies where that of the same head does that never turned; taken for straight it would not."""
    poses = np.array([[0, 0, 0, 0, 0, 0], [0.35, -0.15, 0.12, 0.06, -0.04, 0.1]], np.float32)
    face = np.zeros((2, len(EXPRESSION)), np.float32)
    frames = renderer(TEST_FIRST, 0, 128).frames(poses, face)
    turned, taken = networks.face_parts(frames, poses), networks.face_parts(frames, np.zeros_like(poses))

    def apart(part: np.ndarray) -> float:
        plain = part.astype(float).mean(-1)
        return 1 - float(np.corrcoef(plain[0].ravel(), plain[1].ravel())[0, 1])

    for right, wrong in zip(turned, taken, strict=True):
        assert np.array_equal(right[0], wrong[0])
        assert apart(right) < 0.5 * apart(wrong)


def _angle_error(media: list[ClipMedia]) -> float:
    """Mean error of the head's three angles in degrees over the held-out clips."""
    truth = np.concatenate([SyntheticClip(TEST_FIRST + i, 0, 3.0).pose for i in range(PEOPLE)])
    guess = np.concatenate([clip["tiny-frames"]["pose"] for clip in _features(media, {"tiny-frames"})])
    return float(np.degrees(np.abs(truth - guess)[:, :3]).mean())


def test_head_pose_is_read_from_people_never_seen_but_not_by_random_weights(controls, monkeypatch):
    assert _angle_error(controls["reference"]) < 4
    with _random_weights(monkeypatch, "tiny-frames"):
        assert _angle_error(controls["reference"]) > 8


@pytest.mark.parametrize("frames", [1, 5])
def test_clips_too_short_for_a_window_fail_with_a_reason(frames):
    clip = SyntheticClip(TEST_FIRST, 0, frames / 25).media(64)
    for name in ("tiny-lips", "tiny-sound", "tiny-clips"):
        backbone = tiny.BACKBONES[name]()
        backbone.load()
        with pytest.raises(ClipError, match="too_short"):
            backbone.extract(clip)


def test_features_do_not_depend_on_what_else_is_in_the_clip():
    clip = SyntheticClip(TEST_FIRST, 0, 0.8).media(64)
    backbone = tiny.FrameBackbone()
    backbone.load()
    whole, part = backbone.extract(clip), backbone.extract(ClipMedia(clip.frames[5:12]))
    assert np.allclose(whole["features"][5:12], part["features"], atol=1e-4)


def test_sound_windows_belong_to_five_frames():
    audio = np.zeros(640 * 20, np.int16)
    audio[640 * 7 : 640 * 8] = 8000  # one loud frame
    windows = networks.mel_windows(networks.log_mel(audio))
    quiet = windows[0, :, 0]
    touched = [i for i in range(len(windows)) if not np.allclose(windows[i], quiet[:, None])]
    # window i hears samples 640 i to 640 i + 3440: frame 7 lies in windows 3 to 7, its first 240 samples in window 2,
    # and the pre-emphasis carries its last sample into window 8
    assert len(windows) == 16 and touched == [2, 3, 4, 5, 6, 7, 8]


def test_offline_variants_are_marked_and_share_no_backbone_with_official_ones():
    for name, factory in tiny.METRICS.items():
        info = factory().info
        assert info.id == name and info.tiny and all(b.startswith("tiny-") for b in info.backbones)


def test_the_registry_finds_variants_and_backbones():
    assert set(tiny.METRICS) <= set(registry.metric_ids()) and set(tiny.BACKBONES) <= set(registry.backbone_ids())
