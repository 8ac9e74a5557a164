"""Phase 2: the transformer learns the motion of a sound while the auto-encoder is frozen (FLOAT, Eq. 11 to 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.errors import ClipError
from floatbench.model.conditioning import AudioEncoder, EmotionEncoder, MelEmotionEncoder, normalise_audio
from floatbench.model.conditions import Conditions
from floatbench.model.float import FloatModel
from floatbench.sampling.animator import Animator
from floatbench.sampling.loading import Origin
from floatbench.sampling.network import motion_shape, plain_network
from floatbench.sampling.options import SamplingOptions, preset
from floatbench.sampling.paths import DiffusionPath
from floatbench.sampling.picture import whole_picture
from floatbench.sampling.sampler import sample_windows
from floatbench.sampling.windows import cut
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.training.batches import (
    MotionClip,
    MotionWindows,
    draw_windows,
    known_emotions,
    pictures,
    step_generator,
)
from floatbench.training.checkpoints import load_module, load_optimiser, module_tensors, optimiser_tensors
from floatbench.training.clips import NO_EMOTION, TrainingClip, check_batch_fits
from floatbench.training.config import TrainConfig
from floatbench.training.cost import compile_each, recompute
from floatbench.training.devices import Devices
from floatbench.training.ema import Ema
from floatbench.training.log import save_clip, save_grid
from floatbench.training.loop import Part, rate_at, update
from floatbench.training.losses.dropout import drop_conditions
from floatbench.training.losses.flow import flow_terms, noisy_motion, sample_times
from floatbench.training.validation import HeldClip, Made

PREVIEW_BATCH = 16
"""Frames of the preview clip that are decoded at once."""
UNHEARD = [*range(len(POSE)), *(len(POSE) + EXPRESSION.index(name) for name in ("lids", "gaze_x", "gaze_y"))]
"""Coefficients of true motion that no sound tells: pose, lids and gaze."""
PREVIEW_FRAMES = 250
"""Frames of the preview: ten seconds, 0.2 GB at 512 px as bytes."""


class Student(nn.Module):
    """What phase 2 trains: transformer, audio projection and, when it is small, the emotion recogniser."""

    def __init__(self, model: FloatModel) -> None:
        super().__init__()
        self.fmt, self.audio_encoder, self.emotion_encoder = model.fmt, model.audio_encoder, model.emotion_encoder

    def emotion(self, wave: Tensor) -> Tensor:
        """Normalised (B, N) -> logits (B, E) of the small recogniser, or log-probabilities of the frozen one."""
        if isinstance(self.emotion_encoder, MelEmotionEncoder):
            return self.emotion_encoder.logits(wave)
        assert isinstance(self.emotion_encoder, EmotionEncoder)
        with torch.no_grad():
            return torch.log(self.emotion_encoder(wave).clamp(min=1e-9))

    def heard(self, wave: Tensor, frames: int, states: Tensor | None) -> Tensor:
        """Features (B, T, A) of a sound, or of the frozen network's states."""
        if states is None:
            return self.audio_encoder(wave, frames)
        assert isinstance(self.audio_encoder, AudioEncoder)
        return self.audio_encoder.audio_projection(states)

    def forward(
        self,
        wave: Tensor,
        motion: Tensor,
        wr: Tensor,
        t: Tensor,
        x: Tensor,
        we_truth: Tensor,
        labelled: Tensor,
        masks: Conditions,
        pose: Tensor | None = None,
        faces: Tensor | None = None,
        states: Tensor | None = None,
        felt: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The transformer's output (B, L' + L, D) and the emotion's logits (B, E).

        Args:
            wave: (B, N) normalised sound of L' + L frames. motion: (B, L', D) clean previous motion. wr: (B, D).
            t: (B,). x: (B, L, D) noisy motion. we_truth: (B, E) labels.
            labelled: (B,) bool, which samples are conditioned on their label instead of the recogniser's guess.
            masks: (B,) zeros where a condition is dropped, see `floatbench.training.losses.dropout`.
            pose, faces: (B, L' + L, 6) and (B, L' + L, E) of networks that take them.
            states, felt: (B, L' + L, S) and (B, E) of `floatbench.training.hearing`, instead of hearing the sound anew.
        """
        sizes, previous = self.fmt.config, self.fmt.config.previous
        wa = self.heard(wave, sizes.window + previous, states)
        logits, we = None, None
        if sizes.emotion_condition == "speech":
            logits = self.emotion(wave) if felt is None else felt
            guess = torch.softmax(logits.detach(), -1)
            we = torch.where(labelled[:, None], we_truth, guess)[:, None]
        prev_we, prev_pose = None, None
        if sizes.emotion_condition == "image" and faces is not None:
            prev_we, we = faces[:, :previous], faces[:, previous:]
        if sizes.pose_condition and pose is not None:
            prev_pose, pose = pose[:, :previous], pose[:, previous:]
        given = Conditions(wr, wa[:, previous:], we, pose, motion, wa[:, :previous], prev_we, prev_pose)
        return self.fmt(t, x, given.times(masks)), logits


def frozen(model: FloatModel, emotion: bool) -> None:
    """Freezes all but transformer, audio projection and the small encoders; `emotion` freezes the recogniser, too."""
    model.requires_grad_(True)
    model.motion_autoencoder.requires_grad_(False)
    if emotion and model.emotion_encoder is not None:
        model.emotion_encoder.requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".wav2vec2." in name or ".wav2vec2_for_emotion." in name:
            parameter.requires_grad_(False)


class FlowPhase:
    """Weights, optimiser and the step of phase 2."""

    def __init__(
        self,
        config: TrainConfig,
        model: FloatModel,
        clips: Sequence[MotionClip],
        devices: Devices,
        preview: TrainingClip | None = None,
        preview_motion: MotionClip | None = None,
    ) -> None:
        self.preview, self.preview_motion = preview, preview_motion
        self.whole, self.config, self.devices, self.clips = config, config.flow, devices, list(clips)
        c = self.config
        devices.check_batch(c.batch, c.accumulate)
        length = model.config.window + model.config.previous
        windows = sum(max(0, len(clip.coefficients) - length + 1) for clip in clips)
        check_batch_fits(windows, c.batch, "windows")
        self.model = model.to(devices.device)
        frozen(self.model, config.emotion_first)
        self.student = Student(self.model)
        _train_mode(self.student)
        self.ema = Ema(self.student, c.ema)
        if c.recompute:
            recompute(self.student.fmt.blocks)
        if c.compiled:
            compile_each([self.student.fmt])
        self.wrapped = devices.wrap(self.student)
        self.parameters = [p for p in self.student.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=c.rate, betas=(c.beta1, c.beta2))
        self.diffusion = DiffusionPath()

    def step(self, step: int) -> dict[str, float]:
        """One optimiser step; all draws are of the global batch, of which each process keeps its rows."""
        c, model = self.config, self.model
        seed, length = self.whole.data.seed + c.seed, model.config.window + model.config.previous
        generator = step_generator(seed, step, "flow")
        dim = model.config.dim_w
        noise = torch.randn(c.batch, model.config.window, dim, generator=generator)
        t = sample_times(model.config.prediction, c.batch, self.diffusion, generator, c.logit_normal)
        labelled = torch.rand(c.batch, generator=generator) < c.emotion_truth
        masks = _drop_masks(c.batch, c.drop, generator)
        begins: list[int] = []
        if c.begin_at_source:
            first = masks.items()["prev_x"] == 0
            begins = (model.config.previous * first).long().tolist()
        drawn = draw_windows(self.clips, c.batch, length, seed, step, c.reference, c.across, begins)
        share = self.devices.share
        windows = drawn.share(share)
        told = int((drawn.emotion != NO_EMOTION).sum())
        noise, t, labelled, masks = share(noise), share(t), share(labelled), masks.map(share)
        seen: list[dict[str, Tensor]] = []

        def loss(part: int) -> Part:
            def of(rows: Tensor) -> Tensor:
                return rows[part :: c.accumulate]

            terms, total = self._losses(windows.share(of), of(noise), of(t), of(labelled), masks.map(of), told)
            seen.append({name: term.detach() for name, term in ({"total": total} | terms).items()})
            return total / c.accumulate, terms

        rate = rate_at(step, c.steps, c.rate, c.warmup, c.decay_from)
        first, terms = loss(0)
        more = map(loss, range(1, c.accumulate))
        norm = update(self.optimiser, first, rate, c.clip, self.devices.backward, terms, more)
        self.ema.update(self.student)
        mean = {name: torch.stack([terms[name].float() for terms in seen]).mean() for name in seen[0]}
        return self.devices.means(mean) | {"gradient_norm": norm, "rate": rate}

    def _losses(
        self, windows: MotionWindows, noise: Tensor, t: Tensor, labelled: Tensor, masks: Conditions, told: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms and their sum; `told` windows of the whole batch have a label."""
        c, model = self.config, self.model
        motion = model.motion(windows.coefficients)  # (B, L' + L, D)
        previous, data = motion[:, : model.config.previous], motion[:, model.config.previous :]
        x, target = noisy_motion(model.config.prediction, data, noise, t, self.diffusion)
        truth, known = known_emotions(windows.emotion, model.config.dim_e)
        with self.devices.autocast():
            output, logits = self.wrapped(
                normalise_audio(windows.wave),
                previous,
                model.motion(windows.reference),
                t,
                x,
                truth,
                labelled & known,
                masks,
                windows.pose,
                windows.faces,
                windows.states,
                windows.felt,
            )
        previous_target = previous
        if c.previous_target == "input":
            previous_target = previous * masks.items()["prev_x"][:, None, None]
        parts = flow_terms(output.float(), target, previous_target, c.vel_boundary, c.previous_loss)
        terms = {"current": parts.current, "previous": parts.previous, "velocity": parts.velocity}
        total = parts.total(c.ot, c.velocity)
        given = masks.items()["prev_x"]
        given = torch.ones_like(given) if c.begin_at_source else given
        of_motion = self._motion_terms(output.float(), target, previous_target, given)
        terms |= of_motion
        total = total + sum(getattr(c, name) * term for name, term in of_motion.items())
        if logits is not None and c.emotion_weight and not self.whole.emotion_first and told:
            # the mean over the labelled windows of all processes, however they are shared out
            share = int(known.sum()) * self.devices.count * c.accumulate / told
            guess = F.cross_entropy(logits[known].float(), windows.emotion[known]) if share else logits.float().sum()
            terms["emotion"] = share * guess
            total = total + c.emotion_weight * terms["emotion"]
        return terms, total

    def _motion_terms(self, output: Tensor, target: Tensor, previous: Tensor, given: Tensor) -> dict[str, Tensor]:
        """The terms of the motion coefficients, by the names of their weights; those without weight are left out.

        Args:
            given: (B,) 1 where the network sees the previous motion or its source is the first frame, else 0.
        """
        c, terms = self.config, {}
        if not max(c.inside, c.face_velocity, c.head_square, c.seam):
            return terms
        made, wanted, before = (self.model.project(value) for value in (output, target, previous))
        if c.inside:
            of_all = flow_terms(made, wanted, before, c.vel_boundary, c.previous_loss)
            terms["inside"] = of_all.total(c.ot, c.velocity)
        if c.face_velocity:
            face = slice(len(POSE), None)
            of_face = flow_terms(made[..., face], wanted[..., face], before[..., face], c.vel_boundary, c.previous_loss)
            terms["face_velocity"] = of_face.velocity
        if c.head_square:
            apart = made[:, before.shape[1] :, UNHEARD] - wanted[..., UNHEARD]
            terms["head_square"] = apart.square().mean()
        if c.seam:
            near = slice(before.shape[1], 2 * before.shape[1])  # as many current frames as there are previous ones
            jump = (made[:, near] - wanted[:, : before.shape[1]]).abs().mean((1, 2))
            # a mean over all samples, so that the loss does not depend on how processes share them
            terms["seam"] = (given * jump).mean()
        return terms

    def tensors(self) -> dict[str, Tensor]:
        """The frozen speech networks are left out: they come from their own files."""
        found = module_tensors("student", self.student) | module_tensors("ema", self.ema.module)
        found = {name: value for name, value in found.items() if "wav2vec2" not in name}
        return found | optimiser_tensors("optimiser", self.optimiser)

    def state(self) -> dict[str, Any]:
        return {"ema_updates": self.ema.updates}

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        speech = {name: value for name, value in module_tensors("student", self.student).items() if "wav2vec2" in name}
        again = {name.replace("student.", "ema.", 1): value for name, value in speech.items()}
        load_module("student", self.student, {**speech, **tensors})
        load_module("ema", self.ema.module, {**again, **tensors})
        load_optimiser("optimiser", self.optimiser, tensors)
        self.ema.updates = int(state["ema_updates"])

    def averaged(self) -> FloatModel:
        """The whole model with the running average in place of the weights."""
        model = FloatModel(self.model.config).to(self.devices.device)
        model.load_state_dict(self.model.state_dict())
        kept = self.ema.module
        assert isinstance(kept, Student)
        model.fmt.load_state_dict(kept.fmt.state_dict())
        model.audio_encoder.load_state_dict(kept.audio_encoder.state_dict())
        if model.emotion_encoder is not None and kept.emotion_encoder is not None:
            model.emotion_encoder.load_state_dict(kept.emotion_encoder.state_dict())
        return model.eval().requires_grad_(False)

    def _own_sampling(self) -> SamplingOptions:
        """As the finished model will be sampled."""
        return preset("default", self.whole.sampling, prediction=self.whole.model.prediction)

    def held_out_maker(self) -> Made:
        """What makes whole clips with the running average as it is now, as `floatbench run` would."""
        animator = Animator(self.averaged(), Origin(self.whole.name, {}), str(self.devices.device))
        options = self._own_sampling()

        def make(held: HeldClip) -> np.ndarray:
            if held.media.audio is None:
                raise ClipError("no_audio")
            picture = whole_picture(held.source, animator.size)[0]
            return np.stack(list(animator.play(picture, held.media.audio, options=options, seed=held.seed)))

        return make

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> None:
        """Eight moments of the preview clip: rows of true frames, decoded true motion, decoded generated motion.

        Beside the grid lies the clip itself with its sound: the true frames at the left, the generated at the right.
        """
        if self.preview is None:
            return
        model, clip = self.averaged(), self.preview
        chosen = torch.linspace(0, len(clip.frames) - 1, 8).long()
        s_r, features = model.encode_image(pictures(clip.frames[:1]).to(model.device))
        shown = pictures(clip.frames[chosen.numpy()]).to(model.device)
        reference = model.coefficients(s_r)
        known = self.preview_motion
        tracks = (known.pose, known.faces) if known is not None else (None, None)
        pose, faces = (None if track is None else track[: len(clip.frames)] for track in tracks)
        true = model.motion(model.coefficients(model.encode_image(shown)[0]))
        made = generated_motion(model, clip.audio, reference, options=self._own_sampling(), pose=pose, faces=faces)
        rows = [shown, *(model.decode(s_r + motion, features)[0] for motion in (true, made[chosen]))]
        save_grid(folder / f"flow-{step:07d}.png", rows)
        moving = (model.decode(s_r + motion, features)[0] for motion in made.split(PREVIEW_BATCH))
        save_clip(folder / f"flow-{step:07d}.mp4", clip.frames, moving, clip.audio)


@torch.no_grad()
def generated_motion(
    model: FloatModel,
    audio: Any,
    reference: Tensor,
    seed: int = 0,
    options: SamplingOptions | None = None,
    emotion: int | None = None,
    pose: Any = None,
    faces: Any = None,
) -> Tensor:
    """Motion latents (T, D) for int16 sound (640 T,) and the source's coefficients (1, M).

    Args:
        emotion: position of the emotion to condition on, instead of the speech's own.
        pose, faces: (T, 6) and (T, E), of networks that take them.
    """
    wave = torch.from_numpy(audio.astype("float32") / 32768)[None].to(model.device)
    frames = len(audio) // 640
    wa = model.encode_audio(wave, frames)
    we, head = None, None
    if model.config.emotion_condition == "speech":
        chosen = emotion is not None
        we = torch.eye(model.config.dim_e)[emotion][None, None] if chosen else model.predict_emotion(wave)[:, None]
    elif model.config.emotion_condition == "image":
        we = torch.from_numpy(faces)[None].float().to(model.device)
    if model.config.pose_condition:
        head = torch.from_numpy(pose)[None].float().to(model.device)
    options = options or replace(SamplingOptions(), prediction=model.config.prediction)
    wr = model.motion(reference.to(model.device))
    windows = cut(Conditions(wr, wa, we, head), model.config.window)
    parts = sample_windows(plain_network(model), windows, [seed], options, motion_shape(model))
    return torch.cat([part.motion for part in parts], dim=1)[0, :frames]


def _train_mode(student: Student) -> None:
    """Training mode for what is trained; the frozen speech networks keep evaluation mode (no dropout, no masking)."""
    student.train()
    for name, module in student.named_modules():
        if "wav2vec2" in name:
            module.eval()


def _drop_masks(batch: int, rates: Any, generator: torch.Generator) -> Conditions:
    """Ones (B,) that `drop_conditions` has zeroed: the draws of a whole batch, to be shared among processes."""
    one = torch.ones(batch, 1)
    each = one[..., None]
    ones = Conditions(one, each, each, each, each, each, each, each)
    return drop_conditions(ones, rates, generator).map(lambda value: value.reshape(batch))
