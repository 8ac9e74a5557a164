"""JoyVASA's inference.py, one clip a request: its pipeline is built once, the frames are taken where it writes them.

The official loader of the motion generator skips names that it does not know (`strict=False`): here an entry that the
network wants and the file lacks ends the load. The script lays two silent frames before the sound it hears and one
behind it, and makes three frames more than the clip has: the first ones are kept, as a player of its file shows them.
"""

import os

import driverlib
import shims

FPS = 25
LIVEPORTRAIT = (
    "appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator",
    "stitching_retargeting_module",
)  # fmt: skip


def today(name):
    """The name that today's weight norm gives an entry; torch renames them where it loads them."""
    return name.replace("conv.weight_g", "conv.parametrizations.weight.original0").replace(
        "conv.weight_v", "conv.parametrizations.weight.original1"
    )


class Driver(driverlib.System):
    def load(self, options):
        device = options.device
        shims.apply(options.shims, device)
        if options.fabricated is not None:
            shims.fabricated_detectors()
        import inference  # the official script
        from src import live_portrait_wmg_pipeline as official

        self.args = inference.ArgumentConfig(animation_mode="human", flag_force_cpu=device == "cpu", **options.flags)
        settings = vars(self.args)
        networks = inference.partial_fields(inference.InferenceConfig, settings)
        if options.fabricated is not None:
            networks.models_config = os.path.join(options.weights, "models.yaml")  # the sizes that were fabricated
        self.pipeline = official.LivePortraitPipeline(
            inference_cfg=networks,
            crop_cfg=inference.partial_fields(inference.CropConfig, settings),
        )
        self.wrapper = self.pipeline.live_portrait_wrapper
        self.check(self.wrapper.inference_cfg.checkpoint_MotionGenerator)
        self.official_encode, self.official_sound = official.images2video, official.add_audio_to_video
        official.images2video, official.add_audio_to_video = self.images2video, self.add_audio_to_video
        self.wrapper.spade_generator.register_forward_hook(lambda *_: self.progress("render"))

    def check(self, path):
        """Counts the entries of the motion generator's file that reach it; the others are loaded strictly."""
        import torch

        network = self.wrapper.motion_generator
        held = {today(name): value for name, value in torch.load(path, map_location="cpu")["model"].items()}
        lost = [n for n, p in network.named_parameters() if n not in held or held[n].shape != p.shape]
        if lost:
            raise driverlib.Failure("weights_mismatch", "%s lacks %d entries, %s first" % (path, len(lost), lost[0]))
        self.weight_match[os.path.basename(path)] = len(held)

    def parameters(self):
        count, parts = driverlib.count_parameters, {}
        for name in LIVEPORTRAIT:
            part = getattr(self.wrapper, name)
            parts[name] = count(*part.values()) if isinstance(part, dict) else count(part)
        speech = self.wrapper.motion_generator.audio_encoder
        parts["hubert"] = count(speech)
        parts["motion_generator"] = count(self.wrapper.motion_generator) - parts["hubert"]
        return parts

    def generate(self, request):
        self.request, self.frames = request, None
        self.args.reference, self.args.audio, self.args.output_dir = request.image, request.audio, request.out_dir
        with self.stage("render"):
            video = self.pipeline.execute(self.args)
        if self.frames is None:
            raise driverlib.Failure("missing_output", "the official code returned without frames")
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, self.frames[: request.n_frames])
        video = video if request.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(
            frames_dir=request.out_dir, video=video, fps=FPS, details={"extra": len(self.frames) - request.n_frames}
        )

    def images2video(self, images, wfp, **settings):
        """Stands in for the official encoder: (H, W, 3) RGB bytes, as the renderer's output is cut to them."""
        self.frames = images
        if self.request.capture == "official":
            self.official_encode(images, wfp=wfp, **settings)

    def add_audio_to_video(self, *paths):
        if self.request.capture == "official":
            self.official_sound(*paths)


if __name__ == "__main__":
    driverlib.main(Driver)
