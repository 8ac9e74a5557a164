"""SadTalker's inference.py, one clip a request: its three objects are built once, then its five functions are called.

The pictures are taken where the official code hands them to imageio, before its encoder and its rounding to 16 pixels.
"""

import os

import driverlib
import shims

CHECKPOINTS, CONFIG, SIZE = "checkpoints", "src/config", 256
NO_FACE = "the detector finds no face above 0.97"


class Captured(Exception):
    """Leaves the renderer once the frames are kept; what follows is encoding."""


class Driver(driverlib.System):
    def load(self, options):
        shims.apply(options.shims)
        from src.facerender import animate
        from src.generate_batch import get_data
        from src.generate_facerender_batch import get_facerender_data
        from src.test_audio2coeff import Audio2Coeff
        from src.utils.init_path import init_path
        from src.utils.preprocess import CropAndExtract

        self.device = options.device
        self.preprocess = options.flags["preprocess"]
        self.pose_style = int(options.flags["pose_style"])
        self.batch = int(options.flags["batch_size"])
        paths = init_path(CHECKPOINTS, CONFIG, SIZE, False, self.preprocess)
        self.get_data, self.get_facerender_data = get_data, get_facerender_data
        self.crop = CropAndExtract(paths, self.device)
        self.coefficients = Audio2Coeff(paths, self.device)
        self.animate = animate.AnimateFromCoeff(paths, self.device)
        self.encode, animate.imageio = animate.imageio, self  # its only use there is `mimsave`
        if options.fabricated is not None:
            shims.template_face(self.crop.propress.predictor)
        self.count_faces(self.crop.propress.predictor.det_net)
        self.animate.generator.register_forward_hook(self.alive)

    def count_faces(self, detector):
        """Remembers how many faces the detector gave; the official code takes the first, the most confident one."""
        official = detector.detect_faces

        def detect(*args, **kwargs):
            found = official(*args, **kwargs)
            self.faces = len(found)
            return found

        detector.detect_faces = detect

    def alive(self, *call):
        """A hook that tells the host, frame by frame, that the clip goes on."""
        self.progress("render")

    def parameters(self):
        count = driverlib.count_parameters
        extractor, pose = self.crop.propress.predictor, self.coefficients.audio2pose_model
        return {
            "generator": count(self.animate.generator),
            "key_points": count(self.animate.kp_extractor),
            "mapping": count(self.animate.mapping),
            "reconstruction": count(self.crop.net_recon),
            "audio2exp": count(self.coefficients.audio2exp_model),
            "audio2pose": count(pose.netG, pose.audio_encoder),  # its discriminator is for training
            "face_detector": count(extractor.det_net),
            "landmarks": count(extractor.detector),
        }

    def generate(self, request):
        self.request, self.frames, self.faces = request, None, 0
        if request.n_frames in (1, 2, 21):
            raise driverlib.Failure("audio_too_short", "SadTalker fails on 1, 2 and 21 frames")
        folder = request.out_dir
        with self.stage("crop"):
            first, picture, crop_info = self.find_face(request.image, folder)
        with self.stage("coefficients"):
            batch = self.get_data(first, request.audio, self.device, None, still=False)
            path = self.coefficients.generate(batch, folder, self.pose_style, None)
        data = self.get_facerender_data(
            path, picture, first, request.audio, self.batch, None, None, None,
            expression_scale=1.0, still_mode=False, preprocess=self.preprocess, size=SIZE,
        )  # fmt: skip
        video = ""
        try:
            with self.stage("render"):
                video = self.animate.generate(
                    data, folder, request.image, crop_info, enhancer=None, background_enhancer=None,
                    preprocess=self.preprocess, img_size=SIZE,
                )  # fmt: skip
        except Captured:
            pass
        if self.frames is None:
            raise driverlib.Failure("missing_output", "the official code returned without frames")
        if request.capture == "official" and not os.path.isfile(video):
            raise driverlib.Failure("missing_output", "ffmpeg wrote no file; the official code ignores its exit status")
        with self.stage("write"):
            driverlib.write_frames(folder, self.frames)
        warnings = ["%d faces; SadTalker takes the most confident one" % self.faces] if self.faces > 1 else []
        return driverlib.Result(frames_dir=folder, video=video, warnings=warnings)

    def find_face(self, image, folder):
        """Crop and fit. Without a face the official code raises a string, indexes nothing or says nothing."""
        import numpy

        try:
            first, picture, crop_info = self.crop.generate(
                image, folder, self.preprocess, source_image_flag=True, pic_size=SIZE
            )
        except IndexError as error:
            raise driverlib.Failure("no_face", NO_FACE) from error
        except TypeError as error:
            if "BaseException" not in str(error):
                raise
            raise driverlib.Failure("no_face", NO_FACE) from error
        landmarks = numpy.loadtxt(os.path.splitext(picture)[0] + "_landmarks.txt")
        if (landmarks == -1).all():
            raise driverlib.Failure("no_face", "no landmarks; the official code would take an average face")
        return first, picture, crop_info

    def mimsave(self, path, frames, fps):
        """Stands in for imageio's: the pictures as they are, then the official file if it is asked for."""
        self.frames = frames
        if self.request.capture != "official":
            raise Captured
        self.encode.mimsave(path, frames, fps=fps)


if __name__ == "__main__":
    driverlib.main(Driver)
