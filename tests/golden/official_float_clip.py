"""Runs the official FLOAT release (deepbrainai-research/float, commit 97cfdd51) on one picture and one sound.

It calls the release's public classes only, as a black box, and must be started with a checkout of that commit as the
working folder and on PYTHONPATH, in an environment with its requirements (transformers 4.30 to 4.57, face-alignment,
albumentations, librosa):

    python official_float_clip.py stages CHECKPOINTS inputs.safetensors outputs.safetensors
    python official_float_clip.py clock CHECKPOINTS THREADS [DEVICE]

CHECKPOINTS holds float.pth and the two speech networks' folders. `stages` takes picture.png and sound.wav beside the
inputs, the noise of each window and face boxes, and writes what every stage made. `clock` answers
each line "PICTURE SOUND" on stdin with a line of JSON: seconds and frames of the whole clip, from files to 8 bits.
Nothing of the release is kept in this repository.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import face_alignment
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor

SPEECH, EMOTION = "wav2vec2-base-960h", "wav2vec-english-speech-emotion-recognition"


class GivenFaces:
    """Stands in for the face detector, whose weights are another download: finds the boxes it was given."""

    def __init__(self, *_: object, **__: object) -> None:
        self.face_detector = self
        self.boxes: list[list[float]] = []

    def detect_from_image(self, _: object) -> list[list[float]]:
        return self.boxes


class Frames:
    """Stands in for the video writer that torchvision dropped: keeps the 8-bit frames it is handed."""

    made: Tensor

    def __call__(self, _: str, video: Tensor, fps: float) -> None:
        self.made = video


def agent(checkpoints: Path, frames: Frames, device: str = "cpu"):
    """The release's inference agent on a device."""
    face_alignment.FaceAlignment = GivenFaces
    torchvision.io.write_video = frames
    if device == "cpu":
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # the release's grids name the GPU
    from transformers import PreTrainedModel

    load = PreTrainedModel.from_pretrained.__func__

    def eager(cls, *arguments, **options):  # attention weights are asked for, which other kernels refuse to return
        return load(cls, *arguments, **options, attn_implementation="eager")

    PreTrainedModel.from_pretrained = classmethod(eager)
    import generate

    sys.argv = ["generate.py", "--ckpt_path", str(checkpoints / "float.pth"), "--wav2vec_model_path",
                str(checkpoints / SPEECH), "--audio2emotion_path", str(checkpoints / EMOTION)]  # fmt: skip
    options = generate.InferenceOptions().parse()
    options.rank, options.ngpus = device, 1
    return generate.InferenceAgent(options)


def given_noise(noise: Tensor) -> None:
    """Makes torch.randn hand out the noise of one window after another."""
    windows = iter(noise)
    torch.randn = lambda *shape, **_: next(windows).reshape(shape)


def stages(checkpoints: Path, inputs: Path, outputs: Path) -> None:
    given, frames = load_file(inputs), Frames()
    made, picture, sound = agent(checkpoints, frames), inputs.parent / "picture.png", inputs.parent / "sound.wav"
    made.data_processor.fa.boxes = given["boxes"].tolist()
    crop = made.data_processor.process_img(made.data_processor.default_img_loader(str(picture)))
    cropped = made.data_processor.preprocess(str(picture), str(sound), no_crop=False)
    whole = made.data_processor.preprocess(str(picture), str(sound), no_crop=True)
    latent, coefficients, features = made.G.encode_image_into_latent(cropped["s"])
    motion = made.G.encode_identity_into_motion(latent)
    wave = cropped["a"]
    n_frames = -(-wave.shape[1] // 640)
    out = {"crop": torch.from_numpy(crop), "image": cropped["s"], "uncropped": whole["s"], "wave": wave,
           "latent": latent, "coefficients": coefficients, "reference": motion,
           "audio": made.G.audio_encoder.inference(wave, seq_len=n_frames),
           "emotion": made.G.emotion_encoder.predict_emotion(wave)}  # fmt: skip
    out |= {f"feature{i}": feature for i, feature in enumerate(features)}
    given_noise(given["noise"])
    scales = {"a_cfg_scale": 2.0, "r_cfg_scale": 1.0, "e_cfg_scale": 1.0}
    out["motion"] = made.G.sample({"r_s": motion, "a": wave}, **scales, emo="S2E")
    given_noise(given["noise"])
    out["happy"] = made.G.sample({"r_s": motion, "a": wave}, **scales, emo="happy")
    sampled = out["motion"][:, given["shown"]]
    out["sampled_pictures"] = made.G.decode_latent_into_image(latent, features, sampled)["d_hat"]
    other = made.G.encode_identity_into_motion(made.G.encode_image_into_latent(whole["s"])[0])
    out["driven"] = torch.stack((motion, other), dim=1)
    out["pictures"] = made.G.decode_latent_into_image(latent, features, out["driven"])["d_hat"]
    with tempfile.TemporaryDirectory() as folder:
        made.save_video(out["pictures"], f"{folder}/out.mp4", None)
    out["pixels"] = frames.made
    save_file({k: v.detach().contiguous().clone() for k, v in out.items()}, outputs)


def clock(checkpoints: Path, threads: int, device: str) -> None:
    torch.set_num_threads(threads)
    frames = Frames()
    made = agent(checkpoints, frames, device)
    print("ready", flush=True)
    for line in sys.stdin:
        picture, sound = line.split()
        started, cpu = time.perf_counter(), time.process_time()
        with torch.no_grad():
            data = made.data_processor.preprocess(picture, sound, no_crop=True)
            scales = {"a_cfg_scale": 2.0, "r_cfg_scale": 1.0, "e_cfg_scale": 1.0}
            video = made.G.inference(data, **scales, emo="S2E")["d_hat"]
            with tempfile.TemporaryDirectory() as folder:
                made.save_video(video, f"{folder}/out.mp4", None)
        record = {"seconds": time.perf_counter() - started, "frames": len(frames.made)}
        record["cpu_seconds"] = time.process_time() - cpu
        print(json.dumps(record | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        if sys.argv[1] == "stages":
            stages(*(Path(name).resolve() for name in sys.argv[2:5]))
        else:
            clock(Path(sys.argv[2]).resolve(), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "cpu")
