"""Sonic's sonic.py, one clip a request: its class is built once, the frames are taken where `process` writes them.

`process` sets a seed only when it is given one that is not 0, and otherwise keeps the last: the driver writes the
clip's seed into the configuration that `process` reads. It makes two pictures of every 80 ms of sound, less one: a clip
comes out one or two frames short of its sound, which floatbench's length rule allows.
"""

import contextlib
import os

import driverlib

FPS = 25


class Encoded(Exception):
    """The frames are kept; the script's own file is not wanted."""


class Driver(driverlib.System):
    def load(self, options):
        import sonic  # the official script

        self.script = sonic
        self.flags = dict(options.flags, **((options.fabricated or {}).get("options") or {}))
        if options.device == "cpu":
            sonic.Sonic.config.weight_dtype = "fp32"  # half precision is for cards
        self.system = sonic.Sonic(device_id=-1 if options.device == "cpu" else 0)
        for name in ("unet", "audio2token", "audio2bucket"):  # `load_state_dict` with strict=True
            self.weight_match["checkpoints/Sonic/%s.pth" % name] = len(self.network(name).state_dict())
        self.save, sonic.save_videos_grid = sonic.save_videos_grid, self.keep
        self.system.pipe.unet.register_forward_hook(lambda *_: self.progress("inference"))

    def network(self, name):
        return self.system.pipe.unet if name == "unet" else getattr(self.system, name)

    def parameters(self):
        parts = {name: getattr(self.system.pipe, name) for name in ("unet", "vae", "image_encoder")}
        parts.update({name: getattr(self.system, name) for name in ("audio2token", "audio2bucket")})
        parts["whisper_encoder"] = self.system.whisper.encoder
        parts["rife"] = self.system.rife.flownet
        parts["face_detector"] = self.system.face_det.facedet.model
        return {name: driverlib.count_parameters(part) for name, part in parts.items()}

    def generate(self, request):
        self.capture, self.frames = request.capture, None
        self.system.config.seed = request.seed
        path = os.path.join(request.out_dir, request.name + ".mp4")
        found = 0
        with self.stage("inference"), contextlib.suppress(Encoded):
            found = self.system.process(request.image, request.audio, path, **self.flags)
        if found == -1:
            raise driverlib.Failure("no_face", "Sonic's detector finds no face")
        if self.frames is None:
            raise driverlib.Failure("missing_output", "Sonic made no frames")
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, self.frames)
        video = path if self.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(frames_dir=request.out_dir, video=video, fps=FPS)

    def keep(self, video, path, n_rows=1, fps=FPS):
        """(1, 3, T, H, W) in [0, 1] where the official code encodes it; truncated to bytes, as it does."""
        import numpy

        frames = video[0].permute(1, 2, 3, 0).float().cpu().numpy()
        if not numpy.isfinite(frames).all():
            raise driverlib.Failure("not_finite", "Sonic's output holds NaN or infinite values")
        self.frames = (frames * 255).astype(numpy.uint8)
        if self.capture != "official":
            raise Encoded
        self.save(video, path, n_rows=n_rows, fps=fps)


if __name__ == "__main__":
    driverlib.main(Driver)
