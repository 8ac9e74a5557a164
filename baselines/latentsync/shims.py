"""What stands between LatentSync's code as published and a driver; the checkout itself stays as it is."""

import importlib.util
import os


def open_script(path):
    """The official script as a module; its folder has a name that other packages have too."""
    spec = importlib.util.spec_from_file_location("latentsync_inference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cuda_is_cpu(script):
    """Without a card the "cuda" that is written literally is the CPU, for the speech network and the face detector."""
    from latentsync.utils import face_detector

    speech = script.Audio2Feature
    script.Audio2Feature = lambda **settings: speech(**dict(settings, device="cpu"))
    face_detector.cuda_to_int = lambda device: -1


def one_detector(pipeline, detector, device):
    """The face detector is built once; the aligner, whose state belongs to a clip, for each, in float32 on the CPU."""
    import torch
    from latentsync.utils.affine_transform import AlignRestore

    processor = pipeline.ImageProcessor

    def made_for_a_clip(resolution, device_name, mask_image):
        made = processor(resolution, "cpu", mask_image)
        dtype = torch.float32 if device == "cpu" else torch.float16
        made.restorer, made.face_detector = AlignRestore(resolution=resolution, device=device, dtype=dtype), detector
        return made

    pipeline.ImageProcessor = lambda resolution, device, mask_image: made_for_a_clip(resolution, device, mask_image)


def source_as_it_is(pipeline):
    """The source video is read as it is (25 frames a second, lossless), not sent through an encoder first."""
    read = pipeline.read_video
    pipeline.read_video = lambda path, use_decord: read(path, change_fps=False, use_decord=use_decord)


def captured_frames(pipeline, keep):
    """Frames are handed over where the pipeline writes its first file; `keep` decides whether that is still written."""
    write = pipeline.write_video
    pipeline.write_video = lambda path, frames, fps: keep(frames, lambda: write(path, frames, fps=fps))


def fabricated_face(frame):
    """With fabricated weights only: the box and the 106 landmarks of a face in the middle of the picture."""
    import numpy

    height, width = frame.shape[:2]
    points = numpy.full((106, 2), (0.5 * width, 0.55 * height))
    points[[43, 48, 49, 51, 50]] = (0.38 * width, 0.38 * height)
    points[101:106] = (0.62 * width, 0.38 * height)
    return (width // 4, height // 5, width * 3 // 4, height * 4 // 5), points


def temporary(folder):
    """A folder that the pipeline may empty and remove."""
    return os.path.join(folder, "temp")
