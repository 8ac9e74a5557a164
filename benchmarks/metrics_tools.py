"""The seven metrics: everything from one decode against the reference tools one after another.

    python benchmarks/metrics_tools.py [--seconds 4.2] [--size 512] [--clips 2] [--device cpu] [--no-table] [--json F]

The reference way is what the tools of the field do, each over its own copy of the videos: pytorch-fid (frames as PNG,
batches of 50, SciPy's matrix root), I3D (one window a pass, SciPy), ArcFace and ReconNet (frames as PNG, face by face,
detection for each of the two), the SyncNet pipeline (its lossy dumps, detection, tracking, batches of 20). What the
real tools do besides (meshes drawn by ReconNet's script, FFmpeg's processes) is left out, and the stand-in of the
SCRFD detector costs nothing although the tools run it twice: both favour them. Networks have seeded random weights,
which cost what real ones cost; the tools' have their layers as the tools run them, ours are loaded as a run loads them
(`floatbench.metrics.network.quicker`).

Two ratios: one method against its reference, and the control table, seven methods, as `floatbench run` makes it. There
the tools' seconds are those of one method times seven: they remember nothing between two calls. On the CPU processor
seconds of all threads and children are counted, so that other work on the machine changes little; on CUDA wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metrics_speed
import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm

from floatbench import weights
from floatbench.media import read_clip, read_video, write_lossless, write_wav
from floatbench.metrics import arcface, i3d, registry, scrfd, syncnet
from floatbench.metrics.avcorr import require_sound
from floatbench.metrics.base import Backbone, Pair
from floatbench.metrics.network import NetworkBackbone, exact_float32
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip
from floatbench.types import ClipMedia

WEIGHTS = ("inception-fid", "i3d-400", "arcface-w600k-r50", "scrfd-det-10g", "reconnet-epoch20", "syncnet-v2")
WEIGHTS += ("s3fd-sfd-face",)
METRICS = ("fid", "fvd", "csim-gt", "efid", "pfid-aligned", "lse-direct-d", "lse-direct-c")
CONTROLS = ("reference", "reencoded", "frozen", "shifted:5", "shifted:20", "swapped", "wrong-identity")


def clock() -> float:
    """Processor seconds of this process and its ended children; wall seconds where a GPU works."""
    if torch.cuda.is_available():
        return time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds(function: Callable[[], Any]) -> float:
    start = clock()
    function()
    return clock() - start


def make_videos(folder: Path, clips: int, length: float, size: int) -> list[Path]:
    """Lossless synthetic clips with their sounds beside them."""
    folder.mkdir()
    paths = []
    for number in range(clips):
        clip = SyntheticClip(TEST_FIRST + number, 0, length)
        paths.append(folder / f"{number}.mkv")
        write_lossless(paths[-1], clip.frames(size))
        write_wav(paths[-1].with_suffix(".wav"), clip.audio())
    return paths


def mirrored(videos: list[Path], folder: Path) -> list[Path]:
    """The generated side: other pictures of the same length and sound."""
    folder.mkdir()
    paths = []
    for video in videos:
        paths.append(folder / video.name)
        write_lossless(paths[-1], read_clip(video).frames[:, :, ::-1].copy())
        paths[-1].with_suffix(".wav").write_bytes(video.with_suffix(".wav").read_bytes())
    return paths


def loaded(names: tuple[str, ...], device: str, quick: bool = True) -> dict[str, Any]:
    backbones = {name: registry.backbone(name) for name in names}
    for backbone in backbones.values():
        metrics_speed.load(backbone, device, quick)
    return backbones


class Tools:
    """The reference way; every method is one tool over generated and reference videos."""

    def __init__(self, backbones: dict[str, Any], device: str, folder: Path) -> None:
        self.backbones, self.device, self.folder = backbones, device, folder
        self.detector = scrfd.shared_detector(device)

    def dumped(self, videos: list[Path], tool: str) -> list[Path]:
        """Every frame of every video as PNG."""
        folder = Path(tempfile.mkdtemp(prefix=tool, dir=self.folder))
        paths = []
        for video in videos:
            frames, _ = read_video(video)
            for number, frame in enumerate(frames):
                paths.append(folder / f"{video.stem}-{number:05d}.png")
                Image.fromarray(frame).save(paths[-1])
        return paths

    def fid(self, generated: list[Path], reference: list[Path]) -> None:
        sides = []
        for side in (generated, reference):
            pictures = self.dumped(side, "fid")
            batches = [pictures[i : i + 50] for i in range(0, len(pictures), 50)]
            sides.append(np.concatenate([self._features("inception-2015", batch) for batch in batches]))
        scipy_distance(*sides)

    def _features(self, name: str, pictures: list[Path]) -> np.ndarray:
        frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in pictures])
        return next(iter(self.backbones[name].extract(ClipMedia(frames)).values()))

    def fvd(self, generated: list[Path], reference: list[Path]) -> None:
        backbone: NetworkBackbone = self.backbones["i3d"]
        sides = []
        for side in (generated, reference):
            rows = []
            for video in side:
                frames, _ = read_video(video)
                for start in range(0, len(frames) - i3d.WINDOW + 1, i3d.WINDOW):
                    window = i3d.preprocess(torch.from_numpy(frames[start : start + i3d.WINDOW]))[None]
                    assert backbone.network is not None
                    with torch.inference_mode(), exact_float32():
                        rows.append(backbone.network(window.to(self.device)).cpu().numpy())
            sides.append(np.concatenate(rows))
        scipy_distance(*sides)

    def csim(self, generated: list[Path], reference: list[Path]) -> None:
        backbone: arcface.ArcFaceOnnx = self.backbones["arcface"]
        for side in (generated, reference):
            for path in self.dumped(side, "csim"):
                frame = np.asarray(Image.open(path))
                faces = self.detector.detect(frame)
                backbone.embed(arcface.align(frame, faces.points[faces.largest()])[None])

    def expression_and_pose(self, generated: list[Path], reference: list[Path]) -> None:
        backbone = self.backbones["reconnet"]
        sides = []
        for side in (generated, reference):
            rows = [backbone.extract(ClipMedia(np.asarray(Image.open(p))[None])) for p in self.dumped(side, "recon")]
            sides.append(np.concatenate([row["coefficients"] for row in rows]))
        for part in (slice(80, 144), slice(224, 230)):
            scipy_distance(*[side[:, part].astype(np.float64) for side in sides])

    def sync(self, generated: list[Path], reference: list[Path]) -> None:
        """The pipeline judges the generated videos only."""
        del reference
        for video in generated:
            clip = read_clip(video, video.with_suffix(".wav"))
            lips = self.backbones["syncnet-lip-ffmpeg"].extract(clip)["lips"]
            windows, _ = syncnet.sound_windows(require_sound(clip))  # the second form of each is ours alone
            sound = self.backbones["syncnet-sound"].embed(windows)
            count = min(len(lips), len(sound))
            syncnet.judge(syncnet.distances(lips[:count], sound[:count]))


def scipy_distance(x: np.ndarray, y: np.ndarray) -> None:
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    np.trace(a + b - 2 * np.real(sqrtm(a @ b)))


def one_decode(backbones: dict[str, Backbone], generated: list[Path], reference: list[Path]) -> None:
    """Every video is decoded once and feeds every backbone; then the seven scores with their intervals."""
    metrics = [registry.metric(name) for name in METRICS]
    needed = {name for metric in metrics for name in metric.info.backbones}
    found: dict[tuple[str, str, str], Any] = {}
    for side, videos in (("generated", generated), ("reference", reference)):
        judged = {n for metric in metrics if side in metric.info.sides for n in metric.info.backbones} & needed
        for video in videos:
            clip = read_clip(video, video.with_suffix(".wav"))
            for name in sorted(judged):
                found[side, name, video.stem] = backbones[name].extract(clip)
    for metric in metrics:
        pairs = [Pair(v.stem, v.stem, lambda side, name, v=v: found[side, name, v.stem]) for v in generated]
        assert metric.reduce(pairs).value is not None, metric.info.id


def control_table(folder: Path, videos: Path, device: str) -> None:
    """`floatbench run` over the controls, in processes of its own."""
    command = [sys.executable, "-m", "floatbench", "run", "--protocol", f"folder:{videos}", "--boxes", "none"]
    command += ["--methods", ",".join(CONTROLS), "--metrics", ",".join(METRICS), "--out", str(folder / "run")]
    command += ["--fabricated", "--device", device, "--workers", "1", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"floatbench run ended with {done.returncode}: {done.stderr[-2000:]}")


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    for seed, name in enumerate(WEIGHTS):
        weights.fabricate(name, seed)
    reference = make_videos(folder / "videos", options.clips, options.seconds, options.size)
    generated = mirrored(reference, folder / "generated")
    names = ("inception-2015", "i3d", "arcface", "reconnet", "syncnet-lip", "syncnet-lip-ffmpeg", "syncnet-sound")
    theirs = loaded(names, options.device, quick=False)
    theirs["syncnet-lip-ffmpeg"].batch = 20
    tools = Tools(theirs, options.device, folder)
    parts = {
        "FID": tools.fid,
        "FVD": tools.fvd,
        "CSIM": tools.csim,
        "E-FID and P-FID": tools.expression_and_pose,
        "LSE-D and LSE-C": tools.sync,
    }
    by_tool = {name: seconds(lambda tool=tool: tool(generated, reference)) for name, tool in parts.items()}
    backbones = loaded(names, options.device)
    ours = seconds(lambda: one_decode(backbones, generated, reference))
    total = sum(by_tool.values())
    found: dict[str, Any] = {}
    if not options.no_table:
        table = seconds(lambda: control_table(folder, reference[0].parent, options.device))
        found["control_table"] = {"ours_s": table, "tools_s": 7 * total, "ratio": 7 * total / table}
    return found | {
        "device": options.device,
        "threads": torch.get_num_threads(),
        "clips": options.clips,
        "frames": read_clip(reference[0]).n_frames,
        "size": options.size,
        "tools_s": by_tool,
        "one_method": {"ours_s": ours, "tools_s": total, "ratio": total / ours},
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.2, help="LSE needs more than 100 frames")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-table", action="store_true", help="one method only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["FLOATBENCH_HOME"] = str(Path(temporary) / "home")
        os.environ["FLOATBENCH_FABRICATED"] = "1"
        text = json.dumps(compare(options, Path(temporary)), indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
