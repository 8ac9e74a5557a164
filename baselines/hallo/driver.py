"""Hallo's `scripts/inference.py`: its own `inference_process` runs for every clip, with networks that are built once.

The function is first run up to the point where all networks stand on the device; that is the load. For a clip it gets a
configuration of its own (folders, picture, sound), the clip's seed in place of its fixed 42, and a place to hand the
frames to instead of its encoder.
"""

import argparse
import os

import driverlib
import shims

CONFIG = "configs/inference/default.yaml"
LANDMARKS = "pretrained_models/face_analysis/models/face_landmarker_v2_with_blendshapes.task"


class Loaded(Exception):
    """All networks are on the device."""


class Driver(driverlib.System):
    def load(self, options):
        self.options = options
        for name in options.shims:
            if name not in ("loaded_once", "fabricated_front_end", "captured_frames", "seed_of_the_clip"):
                getattr(shims, name)()
        if options.fabricated is not None:
            shims.fabricated_front_end()
        script = self.script = shims.open_script(os.path.join(options.checkout, "scripts", "inference.py"))
        shims.loaded_once(script)
        self.captured, self.official = None, script.tensor_to_video
        shims.captured_frames(script, self.keep)
        self.pipeline_class = script.FaceAnimatePipeline
        self.load_networks()
        self.networks.denoising_unet.register_forward_hook(lambda *_: self.progress("inference"))

    def load_networks(self):
        """Runs the official function until its pipeline stands on the device; the clip's own steps are passed over."""
        script, driver = self.script, self
        image, sound = script.ImageProcessor, script.AudioProcessor

        class Stop(self.pipeline_class):
            def to(self, *args, **kwargs):
                driver.networks = super().to(*args, **kwargs)
                raise Loaded

        script.FaceAnimatePipeline = Stop
        script.ImageProcessor = shims.passed_over(image, (None,) * 6)
        script.AudioProcessor = shims.passed_over(sound, (None, 0))
        try:
            script.inference_process(self.arguments(os.path.join(self.options.work, "load"), "", "", ""))
        except Loaded:
            self.weight_match = {"net.pth": "all entries (asserted by the official code)"}
        finally:
            script.FaceAnimatePipeline, script.ImageProcessor, script.AudioProcessor = self.pipeline_class, image, sound

    def arguments(self, folder, image, audio, output):
        """The command line of a clip; `config` is a copy of the repository's with folders of its own."""
        from omegaconf import OmegaConf

        os.makedirs(folder, exist_ok=True)
        config = OmegaConf.load(CONFIG)
        config.save_path = folder
        changed = dict(self.options.flags, **((self.options.fabricated or {}).get("options") or {}))
        size = changed.pop("size", None)
        if size is not None:
            config.data.source_image.width = config.data.source_image.height = size
        if self.options.device == "cpu":
            config.weight_dtype = "fp32"
        config = OmegaConf.merge(config, changed)
        path = os.path.join(folder, "config.yaml")
        OmegaConf.save(config, path)
        return argparse.Namespace(config=path, source_image=image, driving_audio=audio, output=output)

    def parameters(self):
        parts = {name: getattr(self.networks, name) for name in ("vae", "reference_unet", "denoising_unet")}
        parts.update(face_locator=self.networks.face_locator, image_proj=self.networks.image_proj)
        parts["audio_proj"] = self.script.AudioProjModel()
        parts["wav2vec2"] = self.script.AudioProcessor().audio_encoder
        return {name: driverlib.count_parameters(part) for name, part in parts.items()}

    def generate(self, request):
        self.check_face(request.image)
        folder = os.path.join(self.options.work, request.name)
        sound = self.script.AudioProcessor()
        for part in (sound.audio_separator, sound.audio_separator.model_instance):
            part.output_dir = os.path.join(folder, "audio_preprocess")
        output = os.path.join(request.out_dir, request.name + ".mp4")
        self.capture, self.captured = request.capture, None
        shims.seed_of_the_clip(self.script, request.seed)
        with self.stage("inference"):
            self.script.inference_process(self.arguments(folder, request.image, request.audio, output))
        if self.captured is None:
            raise driverlib.Failure("missing_output", "Hallo made no frames")
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, iter(self.captured))
        video = output if os.path.isfile(output) else ""
        return driverlib.Result(frames_dir=request.out_dir, video=video)

    def keep(self, tensor, path, sound, fps=25):
        """Frames as Hallo's encoder would get them (truncated to bytes), and its own file where that is wanted."""
        import numpy

        frames = tensor.permute(1, 2, 3, 0).cpu().float().numpy()
        if not numpy.isfinite(frames).all():
            raise driverlib.Failure("not_finite", "Hallo's output holds NaN or infinite values")
        self.captured = numpy.clip(frames * 255, 0, 255).astype(numpy.uint8)
        if self.capture == "official":
            self.official(tensor, path, sound, fps)

    def check_face(self, path):
        """Hallo goes on with no identity when its detector finds nothing; here that is a failure."""
        import cv2
        import mediapipe

        tasks = mediapipe.tasks
        settings = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=LANDMARKS), num_faces=5
        )
        with tasks.vision.FaceLandmarker.create_from_options(settings) as landmarker:
            count = len(landmarker.detect(mediapipe.Image.create_from_file(path)).face_landmarks)
        found = self.script.ImageProcessor().face_analysis.get(cv2.imread(path))
        if count == 0 or not found:
            raise driverlib.Failure("no_face", "MediaPipe finds %d faces, insightface %d" % (count, len(found)))
        if count > 1:
            raise driverlib.Failure("many_faces", "MediaPipe finds %d faces, Hallo needs exactly one" % count)
        if not any(found[0]["embedding"]):
            raise driverlib.Failure("no_face", "the identity embedding is zero")


if __name__ == "__main__":
    driverlib.main(Driver)
