"""Ditto's inference.py (offline, PyTorch models), one clip a request: its pipeline is built once.

`run()` starts six threads for a clip and joins them; the frames are taken where the last one writes them. The
diffusion's noise is drawn once for every number of steps and would come from the first clip of a process: it is drawn
anew, so that a clip is made from its own seed.
"""

import os
import pickle
import types

import driverlib
import shims

DATA_ROOT, CONFIG = "checkpoints/ditto_pytorch", "checkpoints/ditto_cfg/v0.4_hubert_cfg_pytorch.pkl"
FPS = 25


class Writer:
    """Stands in for the official writer: keeps the pictures, RGB, and hands them on where a file is wanted."""

    def __init__(self, driver, official):
        self.driver, self.official = driver, official
        driver.frames = []

    def __call__(self, frame, fmt):
        self.driver.frames.append(frame.copy())
        self.driver.progress("run")
        if self.official is not None:
            self.official(frame, fmt=fmt)

    def close(self):
        if self.official is not None:
            self.official.close()


class Driver(driverlib.System):
    def load(self, options):
        shims.apply(options.shims, options.device)
        import inference  # the official script
        import stream_pipeline_offline as official

        if options.fabricated is not None:
            shims.fabricated_detectors()
        self.official, self.flags = inference, options.flags
        self.make_writer, official.VideoWriterByImageIO = official.VideoWriterByImageIO, self.writer
        inference.os = types.SimpleNamespace(environ=os.environ, system=self.add_sound)
        self.sdk = inference.StreamSDK(CONFIG, DATA_ROOT, **self.on_device(options.device))
        self.diffusion = self.sdk.audio2motion.lmdm.model
        self.diffusion.device = options.device  # it names "cuda" itself
        source = self.sdk.avatar_registrar.source2info
        crop, mesh = source._crop, source.landmark478
        source._crop = lambda *args, **kwargs: found(crop(*args, **kwargs), "insightface")
        source.landmark478 = lambda picture: found(mesh(picture), "MediaPipe")

    @staticmethod
    def on_device(device):
        """The published settings with another device, by the pipeline's own way to replace them."""
        with open(CONFIG, "rb") as stream:
            parts = pickle.load(stream)["base_cfg"]
        return {
            "base_cfg": {name: dict(part, device=device) for name, part in parts.items()},
            "audio2motion_cfg": {"device": device},
        }

    def writer(self, path):
        return Writer(self, self.make_writer(path) if self.request.capture == "official" else None)

    def add_sound(self, command):
        return os.system(command) if self.request.capture == "official" else 0

    def parameters(self):
        source = self.sdk.avatar_registrar.source2info
        networks = {
            "appearance_extractor": source.appearance_extractor,
            "motion_extractor": source.motion_extractor,
            "warp_network": self.sdk.warp_f3d.warp_net,
            "decoder": self.sdk.decode_f3d.decoder,
            "stitch_network": self.sdk.motion_stitch.stitch_net,
            "lmdm": self.sdk.audio2motion.lmdm,
        }
        return {name: driverlib.count_parameters(network.model) for name, network in networks.items()}

    def generate(self, request):
        self.request, self.frames = request, None
        path = os.path.join(request.out_dir, request.name + ".mp4")
        self.diffusion.sampling_timesteps = None
        with self.stage("run"):
            try:
                self.official.run(self.sdk, request.audio, request.image, path, {"setup_kwargs": dict(self.flags)})
            except BaseException:
                if hasattr(self.sdk, "stop_event"):
                    self.sdk.stop_event.set()  # else the clip's threads would wait for it for ever
                raise
        if not self.frames:
            raise driverlib.Failure("missing_output", "the official code returned without frames")
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, self.frames)
        video = path if request.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(frames_dir=request.out_dir, video=video, fps=FPS)


def found(answer, who):
    """What a detector gave; the official code stumbles over nothing."""
    if answer is None or len(answer) == 0:
        raise driverlib.Failure("no_face", "%s finds no face" % who)
    return answer


if __name__ == "__main__":
    driverlib.main(Driver)
