"""Wav2Lip's inference.py on a still picture, one clip a request.

`main()` loads the network once for every call and leaves the pictures in a video writer: the network is handed to it
ready, and the writer keeps the pictures as they come. The script cuts its list of pictures to the windows of the sound
it heard, which are fewer than the clip's frames: the last 0.2 s have no window of their own.
"""

import os
import sys

import driverlib
import shims

FPS = 25
NO_FACE = "the detector finds no face"


class Writer:
    """Stands in for cv2.VideoWriter: keeps the pictures, RGB, and hands them on where a file is wanted."""

    def __init__(self, driver, official):
        self.driver, self.official = driver, official
        driver.frames = []

    def write(self, frame):
        self.driver.frames.append(frame[..., ::-1].copy())
        self.driver.progress("run")
        if self.official is not None:
            self.official.write(frame)

    def release(self):
        if self.official is not None:
            self.official.release()


class Driver(driverlib.System):
    seeded = False  # nothing is drawn

    def load(self, options):
        shims.apply(options.shims)
        checkpoint = options.flags["checkpoint_path"]
        sys.argv = ["inference.py", "--checkpoint_path", checkpoint, "--face", "", "--audio", ""]
        sys.argv += ["--wav2lip_batch_size", str(options.flags["wav2lip_batch_size"])]
        import face_detection
        import inference

        self.official, self.args = inference, inference.args
        inference.device = options.device
        self.network = inference.load_model(checkpoint)
        self.weight_match[checkpoint] = len(self.network.state_dict())
        inference.load_model = lambda path: self.network
        self.detector = face_detection.FaceAlignment(
            face_detection.LandmarksType._2D, flip_input=False, device=options.device
        )
        inference.face_detection.FaceAlignment = lambda *args, **kwargs: self.detector
        self.make_writer, inference.cv2.VideoWriter = inference.cv2.VideoWriter, self.writer
        self.random_detector = options.fabricated is not None
        os.makedirs("temp", exist_ok=True)

    def writer(self, *args):
        return Writer(self, self.make_writer(*args) if self.request.capture == "official" else None)

    def parameters(self):
        count = driverlib.count_parameters
        return {"wav2lip": count(self.network), "face_detector": count(self.detector.face_detector.face_detector)}

    def generate(self, request):
        import cv2

        self.request, self.frames, args = request, None, self.args
        height, width = cv2.imread(request.image).shape[:2]
        args.face, args.audio, args.static, args.fps = request.image, request.audio, True, float(FPS)
        args.outfile = os.path.join(request.out_dir, request.name + ".mp4")
        # random weights find no face: the script's own option for a fixed one
        args.box = [height // 4, height * 7 // 8, width // 4, width * 3 // 4] if self.random_detector else [-1] * 4
        with self.stage("run"):
            try:
                self.official.main()
            except ValueError as error:
                if "Face not detected" in str(error):
                    raise driverlib.Failure("no_face", NO_FACE) from error
                raise
        if not self.frames:
            raise driverlib.Failure("missing_output", "the official code returned without frames")
        made = len(self.frames)
        frames = (self.frames + [self.frames[-1]] * request.n_frames)[: request.n_frames]
        with self.stage("write"):
            driverlib.write_frames(request.out_dir, frames)
        video = args.outfile if request.capture == "official" else ""
        if video and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        return driverlib.Result(frames_dir=request.out_dir, video=video, fps=FPS, details={"windows": made})


if __name__ == "__main__":
    driverlib.main(Driver)
