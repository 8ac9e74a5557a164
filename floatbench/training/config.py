"""Everything that decides a training run, as frozen and checked dataclasses, with where each value comes from.

Sources: [paper] FLOAT's text, [suppl] its supplement, [LIA], [GFPGAN] the works it builds on, [ours] a choice of ours
where nothing is published. Named ones, and files that change them, are in `floatbench.training.configs`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import field
from typing import Any, Literal

from floatbench.errors import UsageError
from floatbench.model.config import FloatConfig
from floatbench.sampling.options import preset
from floatbench.settings import Count, Positive, Share, Weight, Whole, settings
from floatbench.text import near
from floatbench.training.data_config import DataConfig
from floatbench.training.losses.dropout import DropRates
from floatbench.training.tiny.config import PainterConfig, ReaderConfig

TRUE_MOTIONS = 20
"""Numbers of the true motion of a synthetic clip, six of pose and fourteen of the face."""

Precision = Literal["float32", "bfloat16"]


NO_ROOM = "a trained encoder leaves no room in its latent for what a reader sees"
ROOM = "set encoder = 'regression' in [autoencoder], or reader = false and painter = false in [model]"


@settings
class AutoencoderConfig:
    """Phase 1, the motion auto-encoder, as the paper has it.

    Attributes:
        steps, batch, rate: 460,000, 8 and Adam 2e-4 [suppl].
        beta1, beta2: of both Adams, 0 and 0.99 [ours, from StyleGAN2 and LIA].
        decay_from: share of the steps after which the rate falls along a half cosine to a tenth; 1 keeps it [ours].
        l1, perceptual, component, full_adv, eye_adv, eye_style, lip_adv, lip_style: weights of the terms:
            1, 10, 100, 1, 1, 100, 1, 100 [suppl, Eq. 18].
        scales: shrink factors of the perceptual pyramid [LIA].
        component_levels: levels of the component perceptual term, 4 [suppl].
        eye_size, lip_size: crops of the component discriminators, 80 and 120 px at 512 [GFPGAN].
        critic_max, critic_base, component_width: channels of the discriminators [LIA, GFPGAN].
        component_rate: of the component discriminators' Adam, 2e-3 [GFPGAN]; component_beta1: 0.9 [GFPGAN].
        component_from: step from which eye and lip terms count, 20,000 [ours].
        r1, r1_every: gamma 10 every 16 discriminator steps; 0 in either switches it off [ours, StyleGAN2; LIA has
            none].
        ema_images: half-life of the exported average in images, 10,000 [ours, StyleGAN2].
        accumulate: parts in which a process computes its rows of a batch, one after another, before it takes the step:
            for cards that cannot hold them at once. The mini-batch deviation is then that of a part [ours].
        recompute: activation checkpointing: the backward pass computes again what lies inside each block of the
            auto-encoder and inside the perceptual network, to the same digits, instead of keeping it [ours].
        compiled: `torch.compile` of encoder, decoder and perceptual network, each by itself; the discriminators, whose
            gradient is differentiated again, stay as they are [ours].
        clip: largest gradient norm of the generator, 0 = none [ours].
        precision: of the convolutions, `bfloat16` under autocast or `float32` [ours].
        seed: of weights and batches. save_every, sample_every: steps between checkpoints and picture grids.
    """

    steps: Count = 460_000
    batch: Count = 8
    rate: Positive = 2e-4
    beta1: Share = 0.0
    beta2: Share = 0.99
    decay_from: Weight = 1.0
    l1: Weight = 1.0
    perceptual: Weight = 10.0
    component: Weight = 100.0
    full_adv: Weight = 1.0
    eye_adv: Weight = 1.0
    eye_style: Weight = 100.0
    lip_adv: Weight = 1.0
    lip_style: Weight = 100.0
    scales: tuple[Count, ...] = (1, 2, 4, 8)
    component_levels: Whole = 4
    eye_size: Count = 80
    lip_size: Count = 120
    critic_max: Count = 512
    critic_base: Count = 16_384
    component_width: Count = 64
    component_rate: Weight = 2e-3
    component_beta1: Share = 0.9
    component_from: Whole = 20_000
    r1: Weight = 10.0
    r1_every: Whole = 16
    ema_images: Positive = 10_000.0
    accumulate: Count = 1
    recompute: bool = False
    compiled: bool = False
    clip: Weight = 0.0
    precision: Precision = "bfloat16"
    seed: Whole = 0
    save_every: Whole = 2_000
    sample_every: Whole = 2_000

    @property
    def adversarial(self) -> bool:
        """Whether any term needs a discriminator."""
        return max(self.full_adv, self.eye_adv, self.eye_style, self.lip_adv, self.lip_style) > 0

    @property
    def needs_boxes(self) -> bool:
        """Whether any term needs to know where mouth and eyes are."""
        return max(self.component, self.eye_adv, self.eye_style, self.lip_adv, self.lip_style) > 0

    @property
    def shared_batch(self) -> int:
        """How many samples the processes must be able to share evenly."""
        return self.batch

    def check(self, model: FloatConfig) -> None:
        """Raises UsageError when the phase cannot train such a model."""
        if model.reader:
            raise UsageError(NO_ROOM, fix=ROOM)


@settings
class TinyAutoencoderConfig(AutoencoderConfig):
    """Phase 1 with the shortcuts of `floatbench.training.tiny`, all of them off by default [ours, none in the paper].

    They are for minutes on a processor and, but for the first four, need data that know their motion.

    Attributes:
        network: of the perceptual terms: `vgg19`, or `random`, the seeded stand-in that needs no download.
        start: `random`, or `copy`: the finest level starts as a copy of the source picture, so that nothing but motion
            is left to learn.
        flow_gain: factor of the flow heads' initial weights: 1 starts from random warps [LIA], a small one from the
            unmoved source, which learns in far fewer steps.
        both_ways: the second half of a batch exchanges the pictures of the first: every encoding serves twice.
        across: share of pairs whose driving picture is of another clip of the same person, where there is one.
        component_l1, component_l2: further weights of the plain and of the squared difference inside mouth and eyes,
            for small pictures. The plain one alone prefers a mouth that never opens to one that opens a pixel beside
            its place.
        encoder: `trained`, or `regression`: the encoder's convolutions stay random, its last layers are solved by least
            squares so that the coefficients are the true motion, unless a reader sees it (`FloatConfig.reader`); only
            the decoder is trained, without the directions.
        truth_motion, truth_warp: weights of the two terms of `tiny.losses`: the coefficients are the true ones, the
            warp takes points of the head where they are.
        truth_share: share of pairs decoded by relative transfer: from the source's coefficients plus the true change of
            motion, instead of the driving picture's coefficients.
        vary: share of pairs shown with other backgrounds, colours, framings and looks, see `tiny.variation`.
    """

    network: Literal["vgg19", "random"] = "vgg19"
    start: Literal["random", "copy"] = "random"
    flow_gain: Weight = 1.0
    both_ways: bool = False
    across: Share = 0.0
    component_l1: Weight = 0.0
    component_l2: Weight = 0.0
    encoder: Literal["trained", "regression"] = "trained"
    truth_motion: Weight = 0.0
    truth_warp: Weight = 0.0
    truth_share: Share = 0.0
    vary: Share = 0.0

    @property
    def needs_truth(self) -> bool:
        """Whether any term needs the true motion of the clips."""
        return max(self.truth_motion, self.truth_warp, self.truth_share, self.vary) > 0 or self.encoder == "regression"

    @property
    def needs_boxes(self) -> bool:
        return max(self.component_l1, self.component_l2) > 0 or super().needs_boxes

    @property
    def needs_memory(self) -> bool:
        """Whether batches need clips in memory: pairs straight from the files know no motion and no other clip."""
        return self.needs_truth or self.both_ways or self.across > 0

    @property
    def shared_batch(self) -> int:
        return self.batch // 2 if self.both_ways else self.batch  # halves stay halves in every process

    def check(self, model: FloatConfig) -> None:
        if self.network == "random" and model.speech == "wav2vec2":
            raise UsageError("network = 'random' is only for float-tiny", fix="floatbench weights fetch vgg19")
        if model.reader and self.encoder != "regression":
            raise UsageError(NO_ROOM, fix=ROOM)
        if self.truth_motion or self.truth_share or self.encoder == "regression":
            check_motions(model)
        if self.both_ways and self.batch % 2:
            raise UsageError(f"both_ways needs an even batch, got {self.batch}")


def check_motions(model: FloatConfig) -> None:
    """Raises UsageError when coefficients of the model cannot stand for the true motion."""
    if model.dim_m != TRUE_MOTIONS:
        raise UsageError(f"the true motion has {TRUE_MOTIONS} numbers, the model dim_m {model.dim_m}")


@settings
class FlowConfig:
    """Phase 2, the flow-matching transformer and the audio projection.

    Attributes:
        steps, batch, rate: 2,000,000, 8 and Adam 1e-5 [paper].
        beta1, beta2: 0.9 and 0.999 [ours, Adam's own]. warmup: steps of linear rise, 1,000 [ours].
        decay_from: as in phase 1 [ours].
        ot, velocity: lambda_OT = lambda_vel = 1 [paper].
        inside: weight of the same terms of the motion coefficients alone, besides those of the latents: all motion lies
            in M of D dimensions, the others only have their noise removed [ours, 0 in the paper].
        face_velocity: further weight of the velocity term of the face's coefficients alone, for `truth` targets: the
            same weight on the head's pose would hold it still [ours, 0 in the paper].
        head_square: weight of the mean squared difference of the head's pose, lids and gaze, for `truth` targets. No
            sound tells them: squares make the field their mean as flow matching needs, where differences as such make
            it their median, which never blinks. They also weigh most what is far off: slow motion, of which the
            velocity term sees little [ours, 0 in the paper].
        seam: further weight of the mean difference of the motion coefficients in the first L' frames after a previous
            window that the network sees, or after its source where a clip begins there. A head moves so little from
            frame to frame that a small error there is a jump where two windows meet [ours, 0 in the paper].
        previous_loss: `clean`, Eq. 11 read literally; `none` leaves previous frames out.
        vel_boundary: keep the difference between previous and current frames, Eq. 12 read literally.
        previous_target: `clean`, or `input`: zeros where the previous motion was dropped [not stated].
        drop: chances of dropping conditions: 0.1 for audio, source motion and emotion, 0.5 for both previous [paper].
        reference: the source frame: `any` of the clip, `inside` the window or `outside` of it [not stated; ours: half
            inside, half outside = `either`].
        begin_at_source: the source frame of windows whose previous motion is dropped is their first one, so that what
            is made begins where the head of the picture is [ours, off in the paper].
        across: share of windows whose source frame is of another clip of the same person, where there is one; without
            them no face ever changes its emotion. With `truth` targets only its expression is, its head pose is
            not [ours, 0 in the paper].
        logit_normal: draw flow times from a logit-normal instead of uniformly [ours, off].
        emotion_truth: share of samples conditioned on the label instead of the recogniser's guess, where labels exist
            [ours].
        emotion_weight: of the cross entropy that teaches the small log-mel recogniser unless it was trained before, 0
            for wav2vec 2.0 [ours].
        every: only every n-th frame serves as a source and is encoded, for `truth` targets, which need no others
            [ours].
        targets: `encoded` coefficients of the frames [paper], or `truth`: the source's encoded coefficients plus the
            true change of motion since the source, for an encoder that sees less than the decoder can draw [ours].
        standardise: first rewrite the auto-encoder, pictures unchanged, so that its coefficients have mean zero and
            mean square D / M: as loud as the noise they are mixed with [ours, off for the paper's sizes].
        accumulate: as in phase 1; no term depends on it.
        recompute, compiled: as in phase 1, of the transformer's blocks and of the transformer.
        hearing: `window`: the frozen wav2vec 2.0 networks hear the 2.4 s of each window in every step [paper]; `whole`:
            they hear each sound once and steps read what was kept, see `floatbench.training.hearing` [ours].
        ema: decay of the exported average, 0.9999 [ours]. clip: largest gradient norm, 1 [option file of the release].
        precision, seed, save_every, sample_every: as in phase 1.
    """

    steps: Count = 2_000_000
    batch: Count = 8
    rate: Weight = 1e-5
    beta1: Share = 0.9
    beta2: Share = 0.999
    warmup: Whole = 1_000
    decay_from: Weight = 1.0
    ot: Weight = 1.0
    velocity: Weight = 1.0
    inside: Weight = 0.0
    face_velocity: Weight = 0.0
    head_square: Weight = 0.0
    seam: Weight = 0.0
    previous_loss: Literal["clean", "none"] = "clean"
    vel_boundary: bool = True
    previous_target: Literal["clean", "input"] = "clean"
    drop: DropRates = field(default_factory=DropRates)
    reference: Literal["any", "inside", "outside", "either"] = "either"
    begin_at_source: bool = False
    across: Share = 0.0
    every: Count = 1
    logit_normal: bool = False
    emotion_truth: Share = 0.0
    emotion_weight: Weight = 0.0
    targets: Literal["encoded", "truth"] = "encoded"
    standardise: bool = False
    accumulate: Count = 1
    recompute: bool = False
    compiled: bool = False
    hearing: Literal["window", "whole"] = "window"
    ema: Share = 0.9999
    clip: Weight = 1.0
    precision: Precision = "bfloat16"
    seed: Whole = 0
    save_every: Whole = 5_000
    sample_every: Whole = 20_000


@settings
class EmotionConfig:
    """The small emotion recogniser's own training before phase 2; wav2vec 2.0 comes trained [ours, all of it].

    Attributes:
        steps: 0 = it learns along with phase 2 (`flow.emotion_weight`), as it also does from the clips of a protocol.
        people: synthetic people from `data.first` on, one sound of `data.seconds` each.
        batch, rate, seed: of Adam on random windows as long as those of phase 2.
    """

    steps: Whole = 0
    people: Count = 1_200
    batch: Count = 32
    rate: Weight = 1e-3
    seed: Whole = 0


LATER: dict[tuple[str, str], Any] = {
    ("model", "reader"): False,
    ("model", "painter"): False,
    ("model", "warp"): "bilinear",
    ("model", "transfer"): "lia",
    ("model", "flow_limit"): 0.35,
    ("data", "shares"): {},
    ("data", "boxes"): "",
    ("data", "size"): 0,
    ("autoencoder", "accumulate"): 1,
    ("autoencoder", "recompute"): False,
    ("autoencoder", "compiled"): False,
    ("autoencoder", "vary"): 0.0,
    ("flow", "accumulate"): 1,
    ("flow", "recompute"): False,
    ("flow", "compiled"): False,
    ("flow", "face_velocity"): 0.0,
    ("flow", "head_square"): 0.0,
    ("flow", "seam"): 0.0,
    ("flow", "begin_at_source"): False,
    ("flow", "hearing"): "window",
}
"""Fields that older checkpoints do not know, with the values that change nothing."""


@settings
class TrainConfig:
    """A named configuration of model, data and both phases.

    Attributes:
        half: export the whole model in float16.
        anchored: export a model that decodes anchored and samples bicubically, see `FloatConfig`: its weights are those
            of the model as it was trained, which decodes in one pass instead of two.
        sampling: what the finished model chooses for itself where the sampling preset is `default`.
    """

    name: str
    model: FloatConfig
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    emotion: EmotionConfig = field(default_factory=EmotionConfig)
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    painter: PainterConfig = field(default_factory=PainterConfig)
    half: bool = False
    anchored: bool = False
    sampling: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.data.shares) - set(self.data.names))
        if unknown:
            named = "set data.protocol first: it names no data set"
            hint = near(unknown[0], self.data.names) if self.data.names else named
            raise UsageError(f"data.shares: {unknown[0]!r} is not among the data sets of data.protocol", fix=hint)
        self.autoencoder.check(self.model)
        preset("default", self.sampling)  # raises for what cannot be
        if self.flow.targets == "truth":
            check_motions(self.model)
        for name in ("face_velocity", "head_square"):
            if self.flow.targets != "truth" and getattr(self.flow, name):
                what = f"flow.{name}: only 'truth' targets know which coefficients are the face's"
                raise UsageError(what, fix=f"set {name} = 0 in [flow]")
        self.exported.to_dict()  # raises where the model cannot be anchored
        if self.flow.hearing == "whole" and self.model.speech != "wav2vec2":
            raise UsageError("flow.hearing = 'whole' is for wav2vec 2.0: the log-mel encoders are trained, not kept")

    @property
    def exported(self) -> FloatConfig:
        """Of the finished model; raises UsageError where it cannot be anchored."""
        return dataclasses.replace(self.model, transfer="anchored", warp="bicubic") if self.anchored else self.model

    @property
    def emotion_first(self) -> bool:
        """Whether the recogniser is trained before phase 2 and frozen in it."""
        small = self.model.speech == "logmel" and self.model.emotion_condition == "speech"
        return small and not self.data.protocol and self.emotion.steps > 0

    def record(self) -> dict[str, Any]:
        """Plain values for JSON; fields that came after version 0.1 are in it where they are not left as they were."""
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        for name in ("anchored", "sampling"):
            if not values[name]:
                del values[name]
        for part in ("reader", "painter"):
            if not getattr(self.model, part):
                del values[part]
        return _as_before(values)

    def hash(self, phase: Literal["autoencoder", "flow"]) -> str:
        """SHA-256 of what decides a phase's losses; how often it saves, how long it runs and what it keeps in memory
        do not enter."""
        record = self.record()
        if phase == "autoencoder":
            # the shortcuts count as switched off where a configuration has none, as in checkpoints made before they
            # were a class of their own
            record[phase] = dataclasses.asdict(TinyAutoencoderConfig()) | record[phase]
            record = _as_before(record)
            record["model"]["attention_window"] = 2  # of phase 2 alone; float-tiny's was 2 once
        free = ("steps", "save_every", "sample_every", "recompute")
        part = {k: v for k, v in record[phase].items() if k not in free}
        whole = {"model": record["model"], "data": record["data"], phase: part}
        if self.model.reader:
            whole["reader"] = record["reader"]
        if phase == "flow" and self.emotion_first:
            whole["emotion"] = record["emotion"]
        text = json.dumps(whole, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _as_before(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values without those of `LATER` that change nothing."""
    for (section, name), neutral in LATER.items():
        if values[section].get(name) == neutral:
            del values[section][name]
    return values
