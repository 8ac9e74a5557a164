"""EDTalk's demo_lip_pose.py, one clip a request: its class `Demo` without the constructor, which loads it all anew.

`run()` reads the module's global `args` and leaves by way of `save_video`, where the frames are taken: before its
stretch of the whole clip to the full range of values, and before the encoder.
"""

import os
from argparse import Namespace

import driverlib
import shims

AUDIO2LIP = "ckpts/Audio2Lip.pt"
GENERATOR = "ckpts/EDTalk_lip_pose.pt"
FPS = 25


class Captured(Exception):
    """Leaves `run()` once the frames are kept; nothing after that changes them."""


class Driver(driverlib.System):
    seeded = False  # nothing is drawn: the same clip gives the same pixels

    def load(self, options):
        shims.apply(options.shims, cpu=options.device == "cpu")
        import demo_lip_pose
        import torch

        self.torch, self.official = torch, demo_lip_pose
        fix_pose = bool(options.flags.get("fix_pose"))
        demo_lip_pose.args = Namespace(size=256, fix_pose=fix_pose, face_sr=False)
        self.official_save = demo_lip_pose.save_video
        demo_lip_pose.save_video = self.save_video
        demo = demo_lip_pose.Demo.__new__(demo_lip_pose.Demo)
        torch.nn.Module.__init__(demo)
        demo.args, demo.fps = demo_lip_pose.args, FPS
        demo.audio2lip = self.network(demo_lip_pose.Audio2Lip(), AUDIO2LIP, "audio2lip")
        demo.gen = self.network(demo_lip_pose.Generator(), GENERATOR, "gen")
        demo.gen.dec.register_forward_hook(self.alive)
        self.demo, self.pose = demo, None
        if not fix_pose:
            self.pose = self.read_pose(options.flags["pose_video"])

    def alive(self, *call):
        """A hook that tells the host, frame by frame, that the clip goes on."""
        self.progress("run")

    def network(self, module, path, key):
        state = self.torch.load(path, map_location="cpu")[key]
        module.load_state_dict(state)  # strict
        self.weight_match[path] = len(state)
        return module.cuda().eval()

    def read_pose(self, path):
        """The pose video, decoded once; another rate would shift the picture against the sound."""
        video, fps = self.official.vid_preprocessing(path)
        if abs(fps - FPS) > 0.01:
            raise driverlib.Failure("wrong_fps", "the pose video %s has %g frames a second, not %d" % (path, fps, FPS))
        return video.cuda()

    def parameters(self):
        count = driverlib.count_parameters
        return {"generator": count(self.demo.gen), "audio2lip": count(self.demo.audio2lip)}

    def generate(self, request):
        demo, official = self.demo, self.official
        self.request, self.frames = request, None
        with self.stage("prepare"):
            demo.img_source = official.img_preprocessing(request.image, 256).cuda()
            demo.audio, demo.bs, demo.T = official.audio_preprocessing(request.audio)
            demo.audio_path = request.audio
            demo.save_path = os.path.join(request.out_dir, request.name + ".mp4")
            demo.pose_vid_target = self.pose  # `run` lengthens its own name for it, never the tensor
        if demo.T == 0:
            raise driverlib.Failure("audio_too_short", "the sound is shorter than one frame")
        try:
            with self.stage("run"):
                demo.run()
        except Captured:
            pass
        if self.frames is None:
            raise driverlib.Failure("missing_output", "the official code returned without frames")
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, self.frames)
        video = ""
        if request.capture == "official":
            video = demo.save_path
            if not os.path.isfile(video) or os.path.getsize(video) == 0:
                raise driverlib.Failure(
                    "missing_output", "ffmpeg wrote no file; the official code ignores its exit status"
                )
        return driverlib.Result(frames_dir=request.out_dir, video=video, fps=FPS)

    def save_video(self, video, path, fps):
        """Stands in for the official function: (1, 3, T, H, W) in [-1, 1] as it is, then the official file if asked."""
        self.frames = driverlib.to_uint8(video[0].permute(1, 2, 3, 0).cpu().numpy(), -1.0, 1.0)
        if self.request.capture != "official":
            raise Captured
        self.official_save(video, path, fps)


if __name__ == "__main__":
    driverlib.main(Driver)
