"""Noise from the seed, frame by frame; the weights file holds a switch for each thing that goes wrong."""

import json
import os
import random
import shutil
import sys
import time

import driverlib


class Driver(driverlib.System):
    def load(self, options):
        self.options = options
        import network  # the official code

        with open(os.path.join("ckpts", "level.json")) as stream:
            self.settings = json.load(stream)
        self.fault = self.settings.get("fault", "")
        if self.fault == "load_error":
            raise RuntimeError("the checkpoint does not fit")
        if self.fault == "load_hang":
            time.sleep(3600)
        if self.fault == "load_crash":
            os.kill(os.getpid(), 11)
        self.network = network.Network(self.settings["level"])

    def parameters(self):
        return {"network": 1}

    def generate(self, request):
        time.sleep(self.settings.get("slow", 0))
        if "source_video" in request.extra:
            shutil.copy(request.extra["source_video"], os.path.join(self.settings["state"], "given.mkv"))
        if self.fault == "oom_batch" and self.options.flags["batch"] > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        misbehave(self.fault, request, self.settings, self._send.__self__.outgoing)
        count = request.n_frames + {"long": 3, "short": -3}.get(self.fault, 0)
        if self.options.flags.get("fps") == 24:
            count = request.n_frames * 24 // 25
        with self.stage("draw"):
            frames = [self.network.draw(random, 64) for _ in range(count)]
        with self.stage("write"):
            if self.fault == "nothing":
                return driverlib.Result(frames_dir=request.out_dir)
            if self.fault == "constant":
                frames = [bytes(64 * 64 * 3)] * count
            driverlib.write_frames(request.out_dir, ((frame, 64, 64) for frame in frames))
        fps = {"rate": 30.0}.get(self.fault, float(self.options.flags.get("fps", 25)))
        details = {"environment": dict(os.environ, cwd=os.getcwd(), image=request.image)}
        return driverlib.Result(
            frames_dir=request.out_dir, fps=fps, details=details if self.fault == "environment" else {}
        )


def misbehave(fault, request, settings, protocol):
    if fault == "no_face":
        raise driverlib.Failure("no_face", "nobody is there")
    if fault == "crash" or (fault == "crash_once" and first_time(request, settings)):
        sys.stderr.write("about to die\n")
        sys.stderr.flush()
        os.kill(os.getpid(), 9)
    if fault == "hang":
        time.sleep(3600)
    if fault == "garbage":
        print("print() of a system", flush=True)
        protocol.write(b"not json\n42\n" + b"x" * 2000000 + b"\n")
        protocol.flush()
    if fault == "oom":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    if fault == "ram":
        request.hoard = b"x" * 2**29
        time.sleep(3600)
    if fault == "close":
        os.close(protocol.fileno())
        time.sleep(3600)
    if fault == "odd_code":
        raise driverlib.Failure("Not A Code!", "strange")
    if fault == "exit0":
        sys.exit(0)
    if fault == "nan":
        raise driverlib.Failure("not_finite", "the frames hold NaN or infinite values")
    if fault == "network":
        import socket

        socket.create_connection(("192.0.2.1", 80), timeout=1)


def first_time(request, settings):
    """True once per clip and test: remembered in the folder that the test names."""
    path = os.path.join(settings["state"], request.name)
    if os.path.exists(path):
        return False
    open(path, "w").close()
    return True


if __name__ == "__main__":
    driverlib.main(Driver)
