"""EchoMimic's `infer_audio2vid.py`: its own `main` runs for every clip, with networks that are built once.

`main` without test cases builds all networks and goes through an empty loop: that is the load. For a clip it gets one
test case, the clip's seed, and a place to hand the frames to instead of its two encoders.
"""

import argparse
import contextlib
import os

import driverlib
import shims

CONFIG = "configs/prompts/animation.yaml"
MIN_FACE = 0.8


class Encoded(Exception):
    """The frames are kept; the script's second encoding is not wanted."""


class Driver(driverlib.System):
    def load(self, options):
        self.options = options
        if "cuda_is_cpu" in options.shims:
            shims.cuda_is_cpu()
        import infer_audio2vid as script

        self.script = script
        script.torch = shims.ScriptTorch(script.torch)
        shims.loaded_once(script)
        self.flags = dict(options.flags, **((options.fabricated or {}).get("options") or {}))
        self.save = script.save_videos_grid
        shims.captured_frames(script, self.keep)
        os.makedirs(options.work, exist_ok=True)
        self.run({}, -1, options.work)
        self.check_weights()
        self.networks["denoising_unet"].register_forward_hook(lambda *_: self.progress("inference"))

    def check_weights(self):
        """The denoiser is loaded with strict=False: here a missing entry ends the load."""
        self.networks = {
            "vae": self.script.AutoencoderKL.from_pretrained(),
            "reference_unet": self.script.UNet2DConditionModel.from_pretrained(),
            "denoising_unet": self.script.EchoUNet3DConditionModel.from_pretrained_2d(),
            "face_locator": self.script.FaceLocator(),
            "whisper": self.script.load_audio_model().model,
        }
        for name, network in self.networks.items():
            # Position tables of the motion modules are computed, not learned.
            lacked = [entry for entry in getattr(network, "lacked", []) if not entry.endswith("pos_encoder.pe")]
            self.weight_match[name] = {"missing": len(lacked)}
            if lacked:
                raise driverlib.Failure("weights_mismatch", "%s lacks %d entries: %s" % (name, len(lacked), lacked[:3]))

    def run(self, cases, seed, folder):
        """Calls the official `main` with a command line and a configuration of its own."""
        from omegaconf import OmegaConf

        config = OmegaConf.load(CONFIG)
        config.test_cases = cases
        if self.options.device == "cpu":
            config.weight_dtype = "fp32"
        path = os.path.join(folder, "config.yaml")
        OmegaConf.save(config, path)
        arguments = argparse.Namespace(config=path, seed=seed, device=self.options.device, **self.flags)
        self.script.parse_args = lambda: arguments
        self.script.main()

    def parameters(self):
        return {name: driverlib.count_parameters(network) for name, network in self.networks.items()}

    def generate(self, request):
        warnings = self.check_face(request.image)
        self.official, self.frames = request.capture == "official", None
        video = ""
        with self.stage("inference"), contextlib.suppress(Encoded):
            self.run({request.image: [request.audio]}, request.seed, request.out_dir)
        if self.frames is None:
            raise driverlib.Failure("missing_output", "EchoMimic made no frames")
        made = len(self.frames)
        # floor(seconds * fps) + 2 frames come out: the two that lie past the sound are cut.
        fps = self.flags["fps"]
        frames = self.frames[: max(1, round(request.n_frames * fps / 25))]
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, iter(frames))
        if self.official:
            written = self.path[: -len(".mp4")] + "_withaudio.mp4"
            if not os.path.isfile(written):
                raise driverlib.Failure("missing_output", "EchoMimic wrote no video")
            video = os.path.join(request.out_dir, request.name + ".mp4")
            os.replace(written, video)
        details = {"frames_made": made, "last_window": "blends the end of the clip with its beginning"}
        return driverlib.Result(
            frames_dir=request.out_dir, video=video, fps=float(fps), warnings=warnings, details=details
        )

    def keep(self, videos, path, **settings):
        """Frames as EchoMimic's first encoder would get them (truncated to bytes): (1, 3, T, H, W) floats in 0..1."""
        import numpy

        frames = videos[0].permute(1, 2, 3, 0).float().numpy()
        if not numpy.isfinite(frames).all():
            raise driverlib.Failure("not_finite", "EchoMimic's output holds NaN or infinite values")
        self.frames, self.path = (frames * 255).astype(numpy.uint8), path
        if not self.official:
            raise Encoded
        self.save(videos, path, **settings)

    def check_face(self, path):
        """Without a face EchoMimic goes on with the whole picture as mask; near an edge its mask comes out empty."""
        import cv2

        picture = cv2.imread(path)
        boxes, chances = self.script.MTCNN().detect(picture)
        faces = [box for box, chance in zip(boxes, chances) if chance > MIN_FACE] if boxes is not None else []
        if not faces:
            raise driverlib.Failure("no_face", "MTCNN finds no face above %.1f" % MIN_FACE)
        left, top, right, bottom = max(faces, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])).round()
        ratio = self.flags["facemusk_dilation_ratio"]
        rows, columns = int((bottom - top) * ratio), int((right - left) * ratio)
        if top - rows < 0 or left - columns < 0:
            raise driverlib.Failure("edge_mask", "the face lies so near the border that EchoMimic's mask is empty")
        return ["%d faces, EchoMimic takes the largest" % len(faces)] if len(faces) > 1 else []


if __name__ == "__main__":
    driverlib.main(Driver)
