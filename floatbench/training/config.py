"""Everything that decides a training run, as frozen dataclasses, with where each value comes from.

Sources: [paper] FLOAT's text, [suppl] its supplement, [LIA], [GFPGAN] the works it builds on, [ours] a choice of ours
where nothing is published. Named ones, and files that change them, are in `floatbench.training.configs`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from floatbench.errors import UsageError
from floatbench.model.config import FloatConfig
from floatbench.training.losses.dropout import DropRates
from floatbench.training.losses.flow import PreviousLoss

TRUE_MOTIONS = 20
"""Numbers of the true motion of a synthetic clip, six of pose and fourteen of the face."""

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class DataConfig:
    """Where training clips come from.

    Attributes:
        protocol: prepared protocols (`hdtf-train`, `ravdess-train`, `folder:DIR`) and, for phase 1, `frames:DIR` with a
            folder of pictures for each clip (VFHQ's layout), separated by commas; "" renders synthetic heads.
        identities, per_identity, seconds, first, seed: of the synthetic heads.
        still: seconds of a further clip of every person for phase 1, with the head held still, so that only the face
            differs between its frames; 0 for none [ours].
        pool: clips held in memory. refresh: steps after which one of them is replaced, when there are more [ours].
        flip: mirror both pictures of a phase-1 pair with chance one half [ours; LIA does].
    """

    protocol: str = ""
    identities: int = 160
    per_identity: int = 1
    seconds: float = 4.0
    first: int = 0
    seed: int = 1
    still: float = 0.0
    pool: int = 256
    refresh: int = 20
    flip: bool = True


@dataclass(frozen=True)
class AutoencoderConfig:
    """Phase 1, the motion auto-encoder.

    Attributes:
        steps, batch, rate: 460,000, 8 and Adam 2e-4 [suppl].
        beta1, beta2: of both Adams, 0 and 0.99 [ours, from StyleGAN2 and LIA].
        decay_from: share of the steps after which the rate falls along a half cosine to a tenth; 1 keeps it [ours].
        l1, perceptual, component, full_adv, eye_adv, eye_style, lip_adv, lip_style: weights of the terms:
            1, 10, 100, 1, 1, 100, 1, 100 [suppl, Eq. 18].
        truth_motion, truth_warp: weights of the two terms of `losses.truth`, for data that know their motion: the
            coefficients are the true ones, the warp takes points of the head where they are; 0 in the paper [ours].
        truth_share: share of pairs decoded from the source's coefficients plus the true change of motion, instead of
            the driving picture's coefficients [ours].
        encoder: `trained`, or `regression`: the encoder's convolutions stay random, its last layers are solved by least
            squares so that the coefficients are the true motion; only the decoder is trained, without the directions.
            It trades the encoder's sight for time: for minutes on a processor, on data that know their motion [ours].
        both_ways: the second half of a batch exchanges the pictures of the first: every encoding serves twice [ours].
        across: share of pairs whose driving picture is of another clip of the same person, where there is one [ours,
            0 in the paper: pairs of one clip].
        component_l1, component_l2: further weights of the plain and of the squared difference inside mouth and eyes;
            0 in the paper [ours, for small pictures]. The plain one alone prefers a mouth that never opens to one that
            opens a pixel beside its place.
        scales: shrink factors of the perceptual pyramid [LIA].
        component_levels: levels of the component perceptual term, 4 [suppl].
        network: `vgg19` or `random`, the seeded stand-in that needs no download.
        eye_size, lip_size: crops of the component discriminators, 80 and 120 px at 512 [GFPGAN].
        critic_max, critic_base, component_width: channels of the discriminators [LIA, GFPGAN].
        component_rate: of the component discriminators' Adam, 2e-3 [GFPGAN]; component_beta1: 0.9 [GFPGAN].
        component_from: step from which eye and lip terms count, 20,000 [ours].
        r1, r1_every: gamma 10 every 16 discriminator steps, 0 switches it off [ours, StyleGAN2; LIA has none].
        ema_images: half-life of the exported average in images, 10,000 [ours, StyleGAN2].
        clip: largest gradient norm of the generator, 0 = none [ours].
        start: `random`, or `copy`: the finest level starts as a copy of the source picture, so that nothing but motion
            is left to learn [ours, for minutes on a processor].
        flow_gain: factor of the flow heads' initial weights: 1 starts from random warps [LIA], a small one from the
            unmoved source, which learns in far fewer steps [ours].
        precision: of the convolutions, `bfloat16` under autocast or `float32` [ours].
        seed: of weights and batches. save_every, sample_every: steps between checkpoints and picture grids.
    """

    steps: int = 460_000
    batch: int = 8
    rate: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.99
    decay_from: float = 1.0
    l1: float = 1.0
    perceptual: float = 10.0
    component: float = 100.0
    component_l1: float = 0.0
    component_l2: float = 0.0
    truth_motion: float = 0.0
    truth_warp: float = 0.0
    truth_share: float = 0.0
    encoder: Literal["trained", "regression"] = "trained"
    both_ways: bool = False
    across: float = 0.0
    full_adv: float = 1.0
    eye_adv: float = 1.0
    eye_style: float = 100.0
    lip_adv: float = 1.0
    lip_style: float = 100.0
    scales: tuple[int, ...] = (1, 2, 4, 8)
    component_levels: int = 4
    network: Literal["vgg19", "random"] = "vgg19"
    eye_size: int = 80
    lip_size: int = 120
    critic_max: int = 512
    critic_base: int = 16_384
    component_width: int = 64
    component_rate: float = 2e-3
    component_beta1: float = 0.9
    component_from: int = 20_000
    r1: float = 10.0
    r1_every: int = 16
    ema_images: float = 10_000.0
    clip: float = 0.0
    flow_gain: float = 1.0
    start: Literal["random", "copy"] = "random"
    precision: Precision = "bfloat16"
    seed: int = 0
    save_every: int = 2_000
    sample_every: int = 2_000

    @property
    def adversarial(self) -> bool:
        """Whether any term needs a discriminator."""
        return max(self.full_adv, self.eye_adv, self.eye_style, self.lip_adv, self.lip_style) > 0

    @property
    def needs_truth(self) -> bool:
        """Whether any term needs the true motion of the clips."""
        return max(self.truth_motion, self.truth_warp, self.truth_share) > 0 or self.encoder == "regression"

    @property
    def needs_boxes(self) -> bool:
        """Whether any term needs to know where mouth and eyes are."""
        weights = (
            self.component,
            self.component_l1,
            self.component_l2,
            self.eye_adv,
            self.eye_style,
            self.lip_adv,
            self.lip_style,
        )
        return max(weights) > 0


@dataclass(frozen=True)
class FlowConfig:
    """Phase 2, the flow-matching transformer and the audio projection.

    Attributes:
        steps, batch, rate: 2,000,000, 8 and Adam 1e-5 [paper].
        beta1, beta2: 0.9 and 0.999 [ours, Adam's own]. warmup: steps of linear rise, 1,000 [ours].
        decay_from: as in phase 1 [ours].
        ot, velocity: lambda_OT = lambda_vel = 1 [paper].
        inside: weight of the same terms of the motion coefficients alone, besides those of the latents: all motion lies
            in M of D dimensions, the others only have their noise removed [ours, 0 in the paper].
        previous_loss: `clean`, Eq. 11 read literally; `none` leaves previous frames out.
        vel_boundary: keep the difference between previous and current frames, Eq. 12 read literally.
        previous_target: `clean`, or `input`: zeros where the previous motion was dropped [not stated].
        drop: chances of dropping conditions: 0.1 for audio, source motion and emotion, 0.5 for both previous [paper].
        reference: the source frame: `any` of the clip, `inside` the window or `outside` of it [not stated; ours: half
            inside, half outside = `either`].
        across: share of windows whose source frame is of another clip of the same person, where there is one; without
            them nobody's face ever changes its emotion. With `truth` targets only its expression is, its head pose is
            not [ours, 0 in the paper].
        logit_normal: draw flow times from a logit-normal instead of uniformly [ours, off].
        emotion_truth: share of samples told the label instead of the recogniser's guess, where labels exist [ours].
        emotion_weight: of the cross entropy that teaches the small log-mel recogniser unless it was trained before, 0
            for wav2vec 2.0 [ours].
        every: only every n-th frame serves as a source and is encoded, for `truth` targets, which need no others
            [ours].
        targets: `encoded` coefficients of the frames [paper], or `truth`: the source's encoded coefficients plus the
            true change of motion since the source, for an encoder that sees less than the decoder can draw [ours].
        standardise: first rewrite the auto-encoder, pictures unchanged, so that its coefficients have mean zero and
            mean square D / M: as loud as the noise they are mixed with [ours, off for the paper's sizes].
        ema: decay of the exported average, 0.9999 [ours]. clip: largest gradient norm, 1 [option file of the release].
        precision, seed, save_every, sample_every: as in phase 1.
    """

    steps: int = 2_000_000
    batch: int = 8
    rate: float = 1e-5
    beta1: float = 0.9
    beta2: float = 0.999
    warmup: int = 1_000
    decay_from: float = 1.0
    ot: float = 1.0
    velocity: float = 1.0
    inside: float = 0.0
    previous_loss: PreviousLoss = "clean"
    vel_boundary: bool = True
    previous_target: Literal["clean", "input"] = "clean"
    drop: DropRates = field(default_factory=DropRates)
    reference: Literal["any", "inside", "outside", "either"] = "either"
    across: float = 0.0
    every: int = 1
    logit_normal: bool = False
    emotion_truth: float = 0.0
    emotion_weight: float = 0.0
    targets: Literal["encoded", "truth"] = "encoded"
    standardise: bool = False
    ema: float = 0.9999
    clip: float = 1.0
    precision: Precision = "bfloat16"
    seed: int = 0
    save_every: int = 5_000
    sample_every: int = 20_000


@dataclass(frozen=True)
class EmotionConfig:
    """The small emotion recogniser's own training before phase 2; wav2vec 2.0 comes trained [ours, all of it].

    Attributes:
        steps: 0 = it learns along with phase 2 (`flow.emotion_weight`), as it also does from the clips of a protocol.
        people: synthetic people from `data.first` on, one sound of `data.seconds` each.
        batch, rate, seed: of Adam on random windows as long as those of phase 2.
    """

    steps: int = 0
    people: int = 1_200
    batch: int = 32
    rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """A named configuration of model, data and both phases; `half` exports the whole model in float16."""

    name: str
    model: FloatConfig
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    emotion: EmotionConfig = field(default_factory=EmotionConfig)
    half: bool = False

    def __post_init__(self) -> None:
        for part in (self.data, self.autoencoder, self.emotion, self.flow):
            _check_counts(part)
        if self.autoencoder.network == "random" and self.model.speech == "wav2vec2":
            raise UsageError("network = 'random' is only for float-tiny", fix="floatbench weights fetch vgg19")
        if self.flow.previous_loss == "velocity":
            raise UsageError("previous_loss must be 'clean' or 'none' in training")
        told = self.autoencoder.truth_motion or self.autoencoder.truth_share or self.autoencoder.encoder == "regression"
        if (told or self.flow.targets == "truth") and self.model.dim_m != TRUE_MOTIONS:
            raise UsageError(f"the true motion has {TRUE_MOTIONS} numbers, the model dim_m {self.model.dim_m}")
        if self.autoencoder.both_ways and self.autoencoder.batch % 2:
            raise UsageError(f"both_ways needs an even batch, got {self.autoencoder.batch}")

    @property
    def emotion_first(self) -> bool:
        """Whether the recogniser is trained before phase 2 and frozen in it."""
        small = self.model.speech == "logmel" and self.model.emotion_condition == "speech"
        return small and not self.data.protocol and self.emotion.steps > 0

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def hash(self, phase: Literal["autoencoder", "flow"]) -> str:
        """SHA-256 of what decides a phase's losses; how often it saves and how long it runs do not enter."""
        record = self.record()
        part = {k: v for k, v in record[phase].items() if k not in ("steps", "save_every", "sample_every")}
        whole = {"model": record["model"], "data": record["data"], phase: part}
        if phase == "flow" and self.emotion_first:
            whole["emotion"] = record["emotion"]
        text = json.dumps(whole, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


_POSITIVE = ("steps", "batch", "pool", "refresh", "identities", "per_identity", "people", "every")


def _check_counts(part: Any) -> None:
    for item in fields(part):
        value = getattr(part, item.name)
        floor = 0 if item.name not in _POSITIVE or (isinstance(part, EmotionConfig) and item.name == "steps") else 1
        if isinstance(value, int | float) and not isinstance(value, bool) and value < floor:
            raise UsageError(f"{item.name} must be at least {floor}, got {value}")
