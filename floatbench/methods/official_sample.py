"""`float-official-sample`: the video that the FLOAT release shows of its own sample, as a system on that sample."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

from floatbench.data import float_sample
from floatbench.errors import UsageError
from floatbench.methods.method import ClipRequest, Generated, Kind, Method
from floatbench.protocol.protocol import Clip

OFFICIAL_SAMPLE = "float-official-sample"


class FloatOfficialSample(Method):
    """The release's finished video, by its hash: the one piece of evidence of the trained model that is public."""

    name = OFFICIAL_SAMPLE
    kind: Kind = "videos"
    needs_sound = False
    ranked = False
    uses_seed = False
    decodes = True
    licence = "CC BY-NC 4.0 or stricter, like the code of the release"

    def describe(self) -> dict[str, Any]:
        """Where it is from; no loading."""
        float_sample.finished_video()
        return {
            "repository": "deepbrainai-research/float",
            "video_sha256": float_sample.FILES[float_sample.VIDEO][1],
            "marks": ["the release's own file"],
            "licence": self.licence,
        }

    def key(self) -> str:
        return float_sample.FILES[float_sample.VIDEO][1]

    def match(self, clips: Sequence[Clip], chosen: Sequence[Clip]) -> list[str]:
        if any(clip.video != float_sample.VIDEO for clip in chosen):
            raise UsageError(
                f"{self.name} is one video and fits its own sample only",
                fix=f"floatbench run --protocol {float_sample.NAME}",
            )
        return []

    def generate(self, request: ClipRequest) -> Generated:
        video = request.folder / f"{request.slug}.mp4"
        shutil.copyfile(float_sample.finished_video(), video)
        return Generated(video=video)


METHODS: dict[str, Callable[..., Method]] = {OFFICIAL_SAMPLE: FloatOfficialSample}
"""Name -> factory."""
