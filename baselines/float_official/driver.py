"""FLOAT's own repository (InferenceAgent of generate.py), one clip a request.

The options are those of `generate.py`; the frames are taken where it hands them to the encoder.
"""

import os
import sys

import driverlib
import shims

WEIGHTS = "checkpoints/float.pth"
ALWAYS = ("cuda_is_cpu",)


class Driver(driverlib.System):
    def load(self, options):
        self.flags = options.flags
        for name in [*ALWAYS, *options.shims]:
            if name not in ("captured_frames", "checked_loading", "no_face_detector"):
                getattr(shims, name)()
        if self.flags.get("no_crop"):
            shims.no_face_detector()
        shims.checked_loading(speech := {})
        self.encode, self.frames, self.finite = False, None, True
        shims.captured_frames(self.keep)
        import generate

        opt = official_options(generate, options)
        self.agent = generate.InferenceAgent(opt)
        self.check_weights(speech)
        self.agent.save_video = self.checked_save(self.agent.save_video)
        self.time_stages()

    def check_weights(self, speech):
        """FLOAT only prints what it does not find; here that ends the load."""
        import torch

        state = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
        wanted = [name for name, _ in self.agent.G.named_parameters() if "wav2vec2" not in name]
        missing = [name for name in wanted if name not in state]
        self.weight_match = {"float.pth": {"wanted": len(wanted), "missing": len(missing)}, **speech}
        for file, lacking in [("float.pth", missing)] + [(n, s["missing"]) for n, s in speech.items()]:
            if lacking:
                raise driverlib.Failure(
                    "weights_mismatch", "%s lacks %d entries: %s" % (file, len(lacking), lacking[:3])
                )

    def keep(self, frames):
        """The frames before the encoder; True when the official file is wanted too."""
        self.frames = frames.numpy()
        return self.encode

    def checked_save(self, official):
        def save(tensor, path, audio):
            self.finite = bool(tensor.isfinite().all())
            return official(tensor, path, audio if self.encode else None)

        return save

    def time_stages(self):
        model, processor = self.agent.G, self.agent.data_processor
        for owner, method, name in (
            (processor, "preprocess", "preprocess"),
            (model, "encode_image_into_latent", "encode"),
            (model, "sample", "sample"),
            (model, "decode_latent_into_image", "decode"),
        ):
            setattr(owner, method, self.timed(getattr(owner, method), name))
        for part, name in ((model.fmt, "sample"), (model.motion_autoencoder.dec, "decode")):
            part.register_forward_hook(lambda *_, stage=name: self.progress(stage))

    def timed(self, function, name):
        def run(*args, **kwargs):
            with self.stage(name):
                return function(*args, **kwargs)

        return run

    def parameters(self):
        model = self.agent.G
        parts = {"auto_encoder": model.motion_autoencoder, "audio_encoder": model.audio_encoder}
        parts.update(emotion_encoder=model.emotion_encoder, flow_transformer=model.fmt)
        return {name: driverlib.count_parameters(part) for name, part in parts.items()}

    def generate(self, request):
        self.encode, self.frames = request.capture == "official", None
        warnings = [] if self.flags.get("no_crop") else self.count_faces(request.image)
        path = os.path.join(request.out_dir, request.name + ".mp4")
        self.agent.run_inference(
            path,
            request.image,
            request.audio,
            a_cfg_scale=self.flags["a_cfg_scale"],
            e_cfg_scale=self.flags["e_cfg_scale"],
            emo=self.flags.get("emo", "S2E"),
            nfe=self.flags["nfe"],
            no_crop=bool(self.flags.get("no_crop")),
            seed=request.seed,
        )
        if not self.finite:
            raise driverlib.Failure("not_finite", "FLOAT's output holds NaN or infinite values")
        if self.frames is None:
            raise driverlib.Failure("missing_output", "FLOAT wrote no frames")
        if self.encode and not (os.path.isfile(path) and os.path.getsize(path)):
            raise driverlib.Failure("missing_output", "ffmpeg failed, which FLOAT does not notice")
        if not self.encode:
            os.remove(path)
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, iter(self.frames))
        details = {
            "evaluations": self.flags["nfe"] - 1,
            "same_noise_in_every_window": bool(self.agent.opt.fix_noise_seed),
        }
        return driverlib.Result(
            frames_dir=request.out_dir, video=path if self.encode else "", warnings=warnings, details=details
        )

    def count_faces(self, image):
        """FLOAT takes the first box above 0.95 of a picture of 360 lines, and fails on an index without one."""
        import cv2

        picture = self.agent.data_processor.default_img_loader(image)
        scale = 360.0 / picture.shape[0]
        small = cv2.resize(picture, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = self.agent.data_processor.fa.face_detector.detect_from_image(small)
        count = sum(box[-1] > 0.95 for box in found)
        if count == 0:
            raise driverlib.Failure("no_face", "FLOAT's detector finds no face above 0.95")
        return ["%d faces, FLOAT crops the first" % count] if count > 1 else []


def official_options(generate, options):
    """FLOAT's command line for a preset; fabricated weights may bring options of their own (a smaller network)."""
    line = ["generate.py", "--ckpt_path", WEIGHTS, "--nfe", str(options.flags["nfe"])]
    line += ["--" + name for name in ("no_crop", "fix_noise_seed") if options.flags.get(name)]
    before, sys.argv = sys.argv, line
    try:
        opt = generate.InferenceOptions().parse()
    finally:
        sys.argv = before
    opt.rank = 0 if options.device == "cuda" else "cpu"
    opt.ngpus = 1
    for name, value in ((options.fabricated or {}).get("options") or {}).items():
        setattr(opt, name, value)
    return opt


if __name__ == "__main__":
    driverlib.main(Driver)
