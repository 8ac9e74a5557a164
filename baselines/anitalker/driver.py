"""AniTalker's code/demo.py, one clip a request: its untouched `main`, whose networks are handed over instead of loaded.

Three names are replaced: the two network classes in the script and HuBERT's loader give back what `load` built once.
The pictures are taken from the folder of PNG files that `main` fills before its encoder, which writes one frame too
many for some lengths.
"""

import argparse
import os

import driverlib
import shims

STAGE1 = "ckpts/stage1.ckpt"
STAGE2 = "ckpts/stage2_audio_only_hubert.ckpt"
HUBERT = "ckpts/chinese-hubert-large"
NO_FILE = "no-such-file"  # an existing hubert file would be taken in place of the sound, a pose file in place of zero


class Stage2:
    """`LitModel` as `main` uses it. Building the official one seeds the process with its option; so does this."""

    def __init__(self, network, seed):
        self.network, self.seed = network, seed
        self.ema_model, self.render = network.ema_model, network.render

    def load_state_dict(self, state, strict=True):
        """The weights are in place since `load`."""

    def __call__(self, conf):
        self.seed(int(conf.seed))
        return self


class Driver(driverlib.System):
    def load(self, options):
        shims.apply(options.shims)
        import demo
        import torch
        import transformers

        self.demo, self.torch = demo, torch
        self.device = "cuda:0" if options.device == "cuda" else "cpu"
        self.steps = int(options.flags["step_T"])
        if 1000 % self.steps:
            raise driverlib.Failure("bad_input", "step_T must divide 1000, %d does not" % self.steps)
        self.empty = os.path.join(options.work, "loaded-already.ckpt")
        torch.save({}, self.empty)
        self.lia = self.load_stage1()
        self.stage2 = Stage2(self.load_stage2(options), self.seed)
        self.hubert = transformers.HubertModel.from_pretrained(HUBERT).to(self.device)
        for network in (self.lia.dec, self.stage2.ema_model, self.hubert):
            network.register_forward_hook(self.alive)
        demo.LIA_Model = lambda **kwargs: self.lia
        demo.LitModel = self.stage2
        transformers.HubertModel.from_pretrained = lambda *args, **kwargs: self.hubert
        self.encode, demo.frames_to_video = demo.frames_to_video, self.frames_to_video

    def alive(self, *call):
        """A hook that tells the host, frame by frame, that the clip goes on."""
        self.progress("main")

    def load_stage1(self):
        """The renderer; the official loader only prints what does not fit, so everything must be there."""
        network = self.demo.LIA_Model(motion_dim=20, fusion_type="weighted_sum")
        state = self.torch.load(STAGE1, map_location="cpu")
        state = {name.replace("lia.", ""): tensor for name, tensor in state.items()}
        missing = driverlib.missing_keys(network, state)
        if missing:
            raise driverlib.Failure(
                "weights_mismatch", "%s lacks %d tensors, %s first" % (STAGE1, len(missing), missing[0])
            )
        self.weight_match[STAGE1] = len(network.state_dict())
        network.load_lightning_model(STAGE1)
        network.load_lightning_model = lambda path: None
        return network.to(self.device)

    def load_stage2(self, options):
        conf = self.demo.ffhq256_autoenc()
        conf.seed, conf.decoder_layers, conf.motion_dim = 0, 2, 20
        conf.infer_type = options.flags["infer_type"]
        conf.face_location = conf.face_scale = conf.mfcc = False
        network = self.demo.LitModel(conf)
        state = self.torch.load(STAGE2, map_location="cpu")
        network.load_state_dict(state, strict=True)
        self.weight_match[STAGE2] = len(state)
        return network

    def parameters(self):
        count = driverlib.count_parameters
        return {"lia": count(self.lia), "predictor": count(self.stage2.ema_model), "hubert": count(self.hubert)}

    def generate(self, request):
        self.request, self.video = request, ""
        with self.stage("main"):
            self.demo.main(self.arguments(request))
        if request.capture == "official":
            self.video = os.path.join(request.out_dir, "%s-%s.mp4" % (request.name, request.name))
            if not os.path.isfile(self.video):
                raise driverlib.Failure("missing_output", "the official code returned without a file")
        return driverlib.Result(frames_dir=request.out_dir, video=self.video)

    def arguments(self, request):
        """The options of the script; its own defaults are the deprecated model and a turned head."""
        return argparse.Namespace(
            infer_type="hubert_audio_only", test_image_path=request.image, test_audio_path=request.audio,
            test_hubert_path=NO_FILE, pose_driven_path=NO_FILE, result_path=request.out_dir,
            stage1_checkpoint_path=self.empty, stage2_checkpoint_path=self.empty, seed=request.seed,
            control_flag=False, pose_yaw=0.25, pose_pitch=0.0, pose_roll=0.0, face_location=0.5, face_scale=0.5,
            step_T=self.steps, image_size=256, device=self.device, motion_dim=20, decoder_layers=2, face_sr=False,
        )  # fmt: skip

    def frames_to_video(self, folder, audio, path, fps=25):
        """Stands in for the official function: the pictures as they are, then the official file if it is asked for."""
        from PIL import Image

        names = sorted(os.listdir(folder))
        pictures = (Image.open(os.path.join(folder, name)).convert("RGB") for name in names)
        with self.stage("write"):
            driverlib.write_frames(self.request.out_dir, ((p.tobytes(), p.height, p.width) for p in pictures))
        if self.request.capture == "official":
            self.encode(folder, audio, path, fps)


if __name__ == "__main__":
    driverlib.main(Driver)
