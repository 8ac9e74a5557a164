"""The unit of work: one clip, decoded once, for some methods and all backbones. Runs inside a worker process."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from floatbench.data.dataset import Dataset, Reference
from floatbench.device import ran_out_of_memory, within_memory
from floatbench.engine.admission import Admitted, admit
from floatbench.engine.decoded import DecodedClips, memory_to_spare
from floatbench.engine.features import FeatureStore, extract, extract_pair
from floatbench.engine.inputs import RowInputs
from floatbench.engine.keeping import keeping
from floatbench.engine.records import Row
from floatbench.errors import ClipError, DependencyError, FloatbenchError, OutOfMemory
from floatbench.methods import source_video
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.metrics import registry
from floatbench.metrics.base import Backbone, PairBackbone
from floatbench.model.config import EMOTIONS
from floatbench.protocol.protocol import Clip
from floatbench.seeds import derive_seed
from floatbench.types import ClipMedia

Phase = Literal["load", "generate", "measure"]


@dataclass(frozen=True)
class Item:
    """One (method, replicate) of a clip."""

    method: str
    replicate: int
    stored: Row | None = None  # an earlier row whose video may be used again
    key: str = ""  # what the method must be made of; see `Method.key`
    inputs: RowInputs = field(default_factory=RowInputs)


@dataclass(frozen=True)
class Job:
    """One clip with everything that is to be done for it."""

    clip: Clip
    items: tuple[Item, ...]
    partners: dict[str, tuple[Clip, ...]] = field(default_factory=dict)  # rule -> candidates, best first
    lenders: tuple[Clip, ...] = ()  # of a source video, best first


@dataclass(frozen=True)
class JobSettings:
    """What all jobs of a run share; sent to each worker once."""

    dataset: Dataset
    run: Path
    cache: Path | None
    seed: int
    methods: dict[str, Method]  # by name, not loaded yet
    backbones: dict[str, str]  # id -> fingerprint
    sides: dict[str, tuple[str, ...]]  # backbone id -> sides it is needed on
    device: str = "cpu"
    keep_videos: bool = True
    clips_per_worker: int = 0  # how many clips of one method a process will see, about
    made_by: str = ""  # id of the environment

    def begun_row(self, clip: Clip, item: Item) -> Row:
        """The row of an item before anything has succeeded."""
        return Row(
            method=item.method,
            clip=clip.id,
            identity=clip.identity,
            emotion=wanted_emotion(item.method, clip.labels),
            replicate=item.replicate,
            status="failed",
            seed=derive_seed(self.seed, clip.id, item.replicate),
            method_key=item.key,
            inputs=item.inputs.digest,
            made_by=self.made_by,
        )


def wanted_emotion(method: str, labels: Mapping[str, str]) -> str:
    """What the method was told by its name (`float?emotion=happy`), else the clip's label; empty without either.

    A told vector of weights is no emotion of the list, and no label stands in for it.
    """
    choices = (part.partition("=") for part in method.partition("?")[2].split("&"))
    told = next((value.lower() for name, _, value in choices if name == "emotion"), "")
    return told if told in EMOTIONS or "," in told else labels.get("float_label") or labels.get("emotion", "")


class Worker:
    """Holds the loaded methods and backbones of one process and turns jobs into rows."""

    def __init__(self, settings: JobSettings) -> None:
        self.settings = settings
        self.store = FeatureStore(settings.run, settings.cache)
        self._backbones: dict[str, Backbone] = {}
        self._methods: dict[str, Method | ClipError] = {}
        self._reference: tuple[str, Reference] | None = None
        self._clips = DecodedClips(settings.dataset)

    def run(self, job: Job, phase: Callable[[Phase], None] = lambda name: None) -> Iterator[Row]:
        """Yields one row per item; only FloatbenchErrors that concern the whole run (disk, data) escape.

        Args:
            phase: told what begins: a method's loading, its work on the clip, the measuring; for time limits.
        """
        self._phase = phase
        self._keep_only({item.method for item in job.items})
        for item in job.items:
            begin = time.perf_counter()
            row = self._item(job, item)
            row.seconds = round(time.perf_counter() - begin, 4)
            yield row

    def close(self) -> None:
        """Ends the workers that methods may have started."""
        self._keep_only(set())

    def _keep_only(self, names: set[str]) -> None:
        for name in [name for name in self._methods if name not in names]:
            method = self._methods.pop(name)
            if isinstance(method, Method):
                method.close()

    def _item(self, job: Job, item: Item) -> Row:
        row = self.settings.begun_row(job.clip, item)
        try:
            scratch = self.settings.run / "tmp"
            scratch.mkdir(parents=True, exist_ok=True)
            what = f"{item.method} on {job.clip.id}"
            with tempfile.TemporaryDirectory(dir=scratch) as folder, within_memory(self.settings.device, what):
                self._measure(job, item, row, Path(folder))
            row.status, row.reason, row.detail = "ok", "", ""
        except ClipError as error:
            row.reason, row.detail = error.reason, error.what
            row.details |= error.details
        return row

    def _measure(self, job: Job, item: Item, row: Row, folder: Path) -> None:
        reference = self._load_reference(job.clip)
        row.expected_frames, row.flags = reference.media.n_frames, list(reference.flags)
        source = ClipMedia(reference.source[None])
        row.source_pixels_sha256 = source.pixels_sha256
        spec = self.settings.dataset.protocol.preprocessing.spec
        before = self._made_before(item, row, reference.media, spec)
        output = before[0] if before else self._generate(job, row, reference, folder)
        if output.input_key:  # of what was read, which may have changed since the plan was made
            row.inputs = replace(item.inputs, own=output.input_key).digest
        row.timing = {stage: round(seconds, 6) for stage, seconds in output.timing.items()}
        row.details = {**row.details, **output.details}
        admitted = before[1] if before else admit(output, reference.media, spec)
        generated = admitted.generated
        row.n_frames, row.height, row.width = generated.n_frames, *generated.frames.shape[1:3]
        row.reference_height, row.reference_width = reference.media.frames.shape[1:3]
        row.pixels_sha256, row.pcm_sha256 = generated.pixels_sha256, generated.pcm_sha256
        row.reference_pixels_sha256 = admitted.reference.pixels_sha256
        _note_cuts(row, admitted)
        if before and item.stored:
            row.video, row.sound = item.stored.video, item.stored.sound
        kept = self.settings.keep_videos and not before
        kind = self.settings.methods[row.method].kind
        with keeping(output, kind, row, self.settings.run, folder) if kept else nullcontext():
            row.features = self._extract({"generated": generated, "reference": admitted.reference, "source": source})
        row.fingerprints = dict(self.settings.backbones)

    def _load_reference(self, clip: Clip) -> Reference:
        if self._reference is None or self._reference[0] != clip.id:
            self._reference = None  # a long clip is held once
            self._reference = (clip.id, self._clips.load(clip))
        return self._reference[1]

    def _generate(self, job: Job, row: Row, reference: Reference, folder: Path) -> Generated:
        self._phase("load")
        method = self._method(row.method, row.method_key)
        self._phase("generate")
        request = self._request(job, method, row, reference, folder)
        if request.audio is None and method.ranked and method.needs_sound:
            raise ClipError("no_audio", "the clip has no sound to drive the method with")
        try:
            output = method.generate(request)
        except ClipError:
            raise
        except FloatbenchError as error:
            raise ClipError("method_error", str(error)) from error
        except Exception as error:  # a foreign method may raise anything; the run goes on and the row says what
            if ran_out_of_memory(error):
                raise OutOfMemory(_last_line(error)) from error
            raise ClipError("method_error", _last_line(error)) from error
        self._phase("measure")
        return output

    def _request(self, job: Job, method: Method, row: Row, reference: Reference, folder: Path) -> ClipRequest:
        partner = self._partner(job, method, row) if "partner" in method.needs else None
        return ClipRequest(
            clip_id=job.clip.id,
            slug=job.clip.slug,
            source=reference.source,
            audio=reference.media.audio,
            n_frames=reference.media.n_frames,
            seed=row.seed,
            folder=folder,
            labels=job.clip.labels,
            reference=reference.media if "reference" in method.needs else None,
            partner=partner,
            truth=reference.truth if "truth" in method.needs else None,
            source_video=self._source_video(job, row, reference) if source_video.asks(method) else None,
            cut=reference.cut,
            spec=self.settings.dataset.protocol.preprocessing.spec,
            memory=memory_to_spare(),
        )

    def _partner(self, job: Job, method: Method, row: Row) -> ClipMedia | None:
        """The first candidate that has what the control borrows: the sound, where the control says so."""
        for candidate in job.partners.get(method.partner_rule, ()):
            media = self._clips.load(candidate).media
            if media.audio is not None or not method.partner_sound:
                row.details["partner"] = candidate.id
                return media
        return None

    def _source_video(self, job: Job, row: Row, reference: Reference) -> np.ndarray:
        """What the protocol gives to a system that needs a video; the row keeps which clip lent it."""
        frames, lender = source_video.given(
            self.settings.dataset.protocol.source_video,
            reference.source,
            reference.media.frames,
            job.lenders,
            lambda clip: self._clips.load(clip).media.frames,
        )
        row.details |= {"source_video": lender} if lender else {}
        return frames

    def _method(self, name: str, key: str) -> Method:
        if name not in self._methods:
            try:
                method = self.settings.methods[name]
                if method.key() != key:
                    raise ClipError("env_mismatch", "this machine's weights or adapter are not those of the run")
                method.expect(self.settings.clips_per_worker)
                method.load(self.settings.device)
                self._methods[name] = method
            except ClipError as error:
                self._methods[name] = error
            except Exception as error:  # a system that fails to load fails its own rows only
                said = _last_line(error)
                self._methods[name] = OutOfMemory(said) if ran_out_of_memory(error) else ClipError("load_failed", said)
        found = self._methods[name]
        if isinstance(found, ClipError):
            raise found
        return found

    def _made_before(self, item: Item, row: Row, reference: ClipMedia, spec: str) -> tuple[Generated, Admitted] | None:
        """An earlier call's video, so that a metric that was added later does not generate again.

        None where there is none, where it is no longer what was scored, or where it was made from another source
        picture, sound or reference.
        """
        known = item.stored
        if known is None or not known.video or not (self.settings.run / known.video).is_file():
            return None
        if source_video.asks(self.settings.methods[item.method]) and known.inputs != item.inputs.digest:
            return None  # the clip that lent its video may be another
        if known.source_pixels_sha256 not in ("", row.source_pixels_sha256) or not _same_reference(known, reference):
            return None
        video, details = self.settings.run / known.video, known.details
        output = Generated(video=video, audio=self._stored_sound(known), timing=known.timing, details=details)
        try:
            admitted = admit(output, reference, spec)
        except ClipError:
            return None
        same = admitted.generated.pixels_sha256 == known.pixels_sha256
        return (output, admitted) if same and admitted.generated.pcm_sha256 == known.pcm_sha256 else None

    def _stored_sound(self, row: Row):
        if not row.sound:
            return None
        from floatbench.media import read_audio

        return read_audio(self.settings.run / row.sound)

    def _extract(self, media: dict[str, ClipMedia]) -> dict[str, dict[str, str]]:
        """Feeds the decoded clips to every backbone that is needed; each side's content is looked up first."""
        keys: dict[str, dict[str, str]] = {side: {} for side in media}
        for name, fingerprint in self.settings.backbones.items():
            backbone, sides = self._lazy(name), self.settings.sides[name]
            if isinstance(backbone, PairBackbone):
                both = media["generated"], media["reference"]
                key = extract_pair(self.store, backbone, fingerprint, *both)
                keys |= {side: keys[side] | {name: key} for side in sides}
                continue
            for side in sides:
                keys[side][name] = extract(self.store, backbone, fingerprint, media[side])
        return keys

    def _lazy(self, name: str) -> Backbone:
        if name not in self._backbones:
            settings = self.settings.dataset.protocol.settings.get(name, {})
            backbone = registry.backbone(name, **settings)
            if backbone.fingerprint(self.settings.device) != self.settings.backbones[name]:
                what = f"this machine has other weights, code, libraries or another device for {name} than the run"
                raise DependencyError(what, fix="install the same versions on every machine")
            lazy = _PairLoadOnUse if isinstance(backbone, PairBackbone) else _LoadOnUse
            self._backbones[name] = lazy(backbone, self.settings.device)
        return self._backbones[name]


class _LoadOnUse(Backbone):
    """A backbone that loads its network at the first clip it has to look at: a warm cache loads nothing."""

    def __init__(self, inner: Backbone, device: str) -> None:
        self.id, self.uses, self.weights = inner.id, inner.uses, inner.weights
        self._inner, self._device, self._loaded = inner, device, False

    def load(self, device: str = "cpu") -> None:
        self._inner.load(device)

    def ready(self) -> Backbone:
        """What it wraps, loaded."""
        if not self._loaded:
            self.load(self._device)
            self._loaded = True
        return self._inner

    def extract(self, clip: ClipMedia):
        return self.ready().extract(clip)


class _PairLoadOnUse(_LoadOnUse, PairBackbone):
    """The same of a backbone that sees two clips."""

    def extract_pair(self, generated: ClipMedia, reference: ClipMedia):
        inner = self.ready()
        assert isinstance(inner, PairBackbone)
        return inner.extract_pair(generated, reference)


def _same_reference(row: Row, media: ClipMedia) -> bool:
    """Whether a row was made beside these reference pictures, of which it may have used a frame or two less."""
    used = ClipMedia(media.frames[: row.n_frames]) if 0 < row.n_frames < media.n_frames else media
    return used.pixels_sha256 == row.reference_pixels_sha256


def _note_cuts(row: Row, admitted: Admitted) -> None:
    if admitted.cut_generated or admitted.cut_reference:
        row.details["cut_frames"] = {"generated": admitted.cut_generated, "reference": admitted.cut_reference}
        row.details["native_frames"] = admitted.native_frames


def _last_line(error: Exception) -> str:
    if isinstance(error, FloatbenchError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
