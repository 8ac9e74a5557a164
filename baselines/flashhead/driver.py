"""FlashHead's generate_video.py, one clip a request: its own loop over chunks, with networks that are built once.

`generate` is given the loaded pipeline where it would build one, and hands its chunks here where it would write a file.
The official loaders warn of an entry that a file lacks and go on with a random one: here that ends the load.
"""

import argparse
import os

import driverlib
import shims

MODELS = "models/SoulX-FlashHead-1_3B"
SPEECH = "models/wav2vec2-base-960h"
FPS = 25
FILES = {"pro": "Model_Pro/diffusion_pytorch_model.safetensors"}


class Driver(driverlib.System):
    def load(self, options):
        shims.apply(options.shims)
        import generate_video  # the official script
        from flash_head import inference

        self.script, self.flags = generate_video, options.flags
        size = ((options.fabricated or {}).get("options") or {}).get("size")
        if size:
            inference.infer_params.update(height=size, width=size)
        kind = options.flags["model_type"]
        self.pipeline = generate_video.get_pipeline(1, MODELS, kind, SPEECH)
        self.check(self.pipeline.model, os.path.join(MODELS, FILES[kind]))
        self.check(self.pipeline.audio_encoder, os.path.join(SPEECH, "model.safetensors"), "wav2vec2.")
        self.pipeline.model.register_forward_hook(lambda *_: self.progress("inference"))
        self.official_save = generate_video.save_video
        generate_video.get_pipeline = lambda **_: self.pipeline
        generate_video.save_video = self.save_video

    def check(self, network, path, prefix=""):
        """Counts the entries of a file that reach the network (`masked_spec_embed`, for training, is not published)."""
        from safetensors import safe_open

        renamed = ".parametrizations.weight.original"
        with safe_open(path, "pt") as opened:
            names = opened.keys()
            held = {name[len(prefix) :]: opened.get_slice(name).get_shape() for name in names}
        lost = []
        for name, value in network.named_parameters():
            published = name.replace(renamed + "0", ".weight_g").replace(renamed + "1", ".weight_v")
            if list(value.shape) not in (held.get(name), held.get(published)) and name != "masked_spec_embed":
                lost.append(name)
        if lost:
            raise driverlib.Failure("weights_mismatch", "%s lacks %d entries, %s first" % (path, len(lost), lost[0]))
        self.weight_match[path] = len(held)

    def parameters(self):
        parts = {"transformer": self.pipeline.model, "vae": self.pipeline.vae.model}
        parts["wav2vec2"] = self.pipeline.audio_encoder
        return {name: driverlib.count_parameters(part) for name, part in parts.items()}

    def generate(self, request):
        self.request, self.frames = request, None
        path = os.path.join(request.out_dir, request.name + ".mp4")
        arguments = argparse.Namespace(
            ckpt_dir=MODELS, wav2vec_dir=SPEECH, cond_image=request.image, cond_image_dir=None,
            audio_path=request.audio, save_file=path, base_seed=request.seed, **self.flags,
        )  # fmt: skip
        with self.stage("inference"):
            self.script.generate(arguments)
        if self.frames is None:
            raise driverlib.Failure("missing_output", "generate_video.py made no frames")
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, self.frames)
        video = path if request.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(frames_dir=request.out_dir, video=video, fps=FPS)

    def save_video(self, chunks, path, audio, fps):
        """Stands in for the official one: chunks (T, H, W, 3) in [0, 255], cut to bytes as its encoder gets them.

        The sound was filled up with silence to whole chunks; the official file ends with the sound, and so do these.
        """
        import numpy

        frames = numpy.concatenate([chunk.numpy() for chunk in chunks])[: self.request.n_frames]
        if not numpy.isfinite(frames).all():
            raise driverlib.Failure("not_finite", "FlashHead's output holds NaN or infinite values")
        self.frames = frames.astype(numpy.uint8)
        if self.request.capture == "official":
            self.official_save(chunks, path, audio, fps)


if __name__ == "__main__":
    driverlib.main(Driver)
