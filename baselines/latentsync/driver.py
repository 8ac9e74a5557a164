"""LatentSync's `scripts/inference.py`: its own `main` builds everything once, its pipeline runs for every clip.

`main` is run up to the call of the pipeline, whose settings are kept; a clip changes the four paths among them. The
source video is the one that the protocol gives; the pipeline runs it back and forth where the sound is longer.
"""

import argparse
import contextlib
import os

import driverlib
import shims

CONFIG = "configs/unet/stage2_512.yaml"
UNET = "checkpoints/latentsync_unet.pt"
FPS = 25


class Loaded(Exception):
    """All networks are on the device."""


class Encoded(Exception):
    """The frames are kept; the files that would be made from them are not wanted."""


class Driver(driverlib.System):
    def load(self, options):
        from omegaconf import OmegaConf

        self.options = options
        script = shims.open_script(os.path.join(options.checkout, "scripts", "inference.py"))
        from latentsync.pipelines import lipsync_pipeline
        from latentsync.utils.face_detector import FaceDetector

        if options.device == "cpu":
            shims.cuda_is_cpu(script)
        shims.source_as_it_is(lipsync_pipeline)
        shims.captured_frames(lipsync_pipeline, self.keep)
        detector = shims.fabricated_face if options.fabricated is not None else FaceDetector("cuda")
        shims.one_detector(lipsync_pipeline, detector, options.device)
        changed = dict((options.fabricated or {}).get("options") or {})
        flags = dict(options.flags, **changed.pop("flags", {}))
        config = OmegaConf.merge(OmegaConf.load(CONFIG), changed)
        self.build(script, config, flags)
        self.check_weights()
        self.pipeline.unet.register_forward_hook(lambda *_: self.progress("run"))

    def build(self, script, config, flags):
        """Runs the official `main` until it calls its pipeline; any file that exists stands for the clip's own."""
        driver, self.pipeline_class = self, script.LipsyncPipeline

        class Kept(script.LipsyncPipeline):
            def to(self, *args, **kwargs):
                return super().to(driver.options.device)

            def __call__(self, **settings):
                driver.pipeline, driver.settings = self, settings
                raise Loaded

        script.LipsyncPipeline = Kept
        arguments = argparse.Namespace(
            inference_ckpt_path=UNET,
            video_path=CONFIG,
            audio_path=CONFIG,
            video_out_path="",
            temp_dir="",
            seed=0,
            **flags,
        )
        with contextlib.suppress(Loaded):
            script.main(config, arguments)

    def check_weights(self):
        """The denoiser is loaded with strict=False: here a missing entry ends the load."""
        import torch

        state = torch.load(UNET, map_location="cpu", mmap=True, weights_only=True)["state_dict"]
        lacked = [name for name in driverlib.missing_keys(self.pipeline.unet, state) if not name.endswith(".pe")]
        if lacked:
            raise driverlib.Failure("weights_mismatch", "%s lacks %d entries: %s" % (UNET, len(lacked), lacked[:3]))
        self.weight_match[UNET] = len(state)

    def parameters(self):
        parts = {"unet": self.pipeline.unet, "vae": self.pipeline.vae, "whisper": self.pipeline.audio_encoder.model}
        return {name: driverlib.count_parameters(part) for name, part in parts.items()}

    def generate(self, request):
        self.request, self.frames = request, None
        output = os.path.join(request.out_dir, request.name + ".mp4")
        settings = dict(
            self.settings, video_path=request.extra["source_video"], audio_path=request.audio, video_out_path=output,
            temp_dir=shims.temporary(request.out_dir),
        )  # fmt: skip
        with self.stage("run"), contextlib.suppress(Encoded):
            try:
                self.pipeline_class.__call__(self.pipeline, **settings)
            except RuntimeError as error:
                if "Face not detected" in str(error):
                    raise driverlib.Failure("no_face", "insightface finds no face of 50 x 80 px") from error
                raise
        if self.frames is None:
            raise driverlib.Failure("missing_output", "LatentSync made no frames")
        with self.stage("write"):  # the sound is padded: a frame or two lie behind its end
            driverlib.write_frames(request.out_dir, iter(self.frames[: request.n_frames]))
        video = output if request.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(
            frames_dir=request.out_dir, video=video, fps=FPS, details={"frames_made": len(self.frames)}
        )

    def keep(self, frames, write):
        """(T, H, W, 3) uint8 pictures as the pipeline hands them to its encoder."""
        self.frames = frames
        if self.request.capture != "official":
            raise Encoded
        write()


if __name__ == "__main__":
    driverlib.main(Driver)
