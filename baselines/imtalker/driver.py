"""IMTalker's generate.py, one clip a request: its agent is built once, the frames are taken where it writes the video.

The official loader skips names that it does not know (`strict=False`) and copies what fits: here an entry that a
network wants and the file lacks ends the load.
"""

import os
import sys

import driverlib
import shims

GENERATOR, RENDERER = "checkpoints/generator.ckpt", "checkpoints/renderer.ckpt"
FPS = 25


class Driver(driverlib.System):
    def load(self, options):
        shims.apply(options.shims)
        import generate  # the official script
        import torch

        self.torch, self.flags = torch, options.flags
        sys.argv = ["generate.py", "--generator_path", GENERATOR, "--renderer_path", RENDERER]
        opt = generate.InferenceOptions().parse()
        opt.rank, opt.ngpus = options.device, 1
        opt.fix_noise_seed = bool(options.flags["fix_noise_seed"])
        self.agent = generate.InferenceAgent(opt)
        self.check(self.agent.ae, RENDERER, "gen.")
        self.check(self.agent.fm, GENERATOR, "model.")
        self.official_save, self.agent.save_video = self.agent.save_video, self.save_video
        decode = self.agent.ae.decode
        self.agent.ae.decode = lambda *args: (self.progress("render"), decode(*args))[1]

    def check(self, network, path, prefix):
        """Counts the entries of a file that reach the network; the official code is silent about those it lacks."""
        state = self.torch.load(path, map_location="cpu")
        state = state.get("state_dict", state)
        state = state.get("model", state)
        held = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
        wanted = dict(network.named_parameters())
        # the speech network comes from a file of its own
        lost = [n for n, p in wanted.items() if "wav2vec2." not in n and (n not in held or held[n].shape != p.shape)]
        if lost:
            raise driverlib.Failure("weights_mismatch", "%s lacks %d entries, %s first" % (path, len(lost), lost[0]))
        self.weight_match[path] = len(held)

    def parameters(self):
        return {
            "renderer": driverlib.count_parameters(self.agent.ae),
            "flow_and_speech": driverlib.count_parameters(self.agent.fm),
        }

    def generate(self, request):
        self.request, self.frames = request, None
        path = os.path.join(request.out_dir, request.name + ".mp4")
        with self.stage("render"):
            self.agent.run_inference(
                path, request.image, request.audio, crop=False, seed=request.seed,
                a_cfg_scale=self.flags["a_cfg_scale"], nfe=self.flags["nfe"],
            )  # fmt: skip
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, self.frames)
        video = path if request.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(frames_dir=request.out_dir, video=video, fps=FPS)

    def save_video(self, video, path, audio):
        """Stands in for the official one: (T, 3, H, W) in [0, 1], the renderer's sigmoid, before cast and encoder."""
        self.frames = driverlib.to_uint8(video.permute(0, 2, 3, 1).float().cpu().numpy(), 0.0, 1.0)
        return self.official_save(video, path, audio) if self.request.capture == "official" else path


if __name__ == "__main__":
    driverlib.main(Driver)
