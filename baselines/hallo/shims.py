"""What Hallo's code needs changed at run time, by name; the manifest and every report list the same names.

Nothing of the checkout is edited: each shim replaces an attribute of a module that the checkout imports.
"""

import importlib.machinery
import importlib.util
import sys
import types


def no_xformers():
    """Stand an empty module where xformers would be: the motion module imports it and never calls it."""
    package, operations = types.ModuleType("xformers"), types.ModuleType("xformers.ops")
    package.ops = operations
    for module in (package, operations):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)  # diffusers asks for it
    sys.modules.update({"xformers": package, "xformers.ops": operations})


def cuda_is_cpu():
    """Let AudioProcessor's default device, "cuda:0", be the CPU when there is no card."""
    import torch
    from hallo.datasets.audio_processor import AudioProcessor

    if not torch.cuda.is_available():
        defaults = AudioProcessor.__init__.__defaults__
        AudioProcessor.__init__.__defaults__ = (*defaults[:-1], "cpu")


def open_script(path):
    """`scripts/inference.py` as a module (its folder is no package)."""
    spec = importlib.util.spec_from_file_location("hallo_inference", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def passed_over(build, answer):
    """A builder of the kept processor whose `preprocess` gives `answer`, for the load."""

    class PassedOver:
        def __init__(self, *args, **kwargs):
            build(*args, **kwargs)

        def preprocess(self, *args):
            return answer

        def __enter__(self):
            return self

        def __exit__(self, *reason):
            return None

    return PassedOver


def loaded_once(script):
    """Make the networks that `inference_process` builds only once, instead of for every clip.

    Later calls get the networks of the first one; the weights are in them already, so net.pth is not read again.
    """
    import functools

    def once(function):
        kept = []

        @functools.wraps(function)
        def build(*args, **kwargs):
            if not kept:
                kept.append(function(*args, **kwargs))
            return kept[0]

        return build

    for name, method in (
        ("AutoencoderKL", "from_pretrained"),
        ("UNet2DConditionModel", "from_pretrained"),
        ("UNet3DConditionModel", "from_pretrained_2d"),
    ):
        setattr(script, name, types.SimpleNamespace(**{method: once(getattr(getattr(script, name), method))}))
    for name in ("FaceLocator", "ImageProjModel", "AudioProjModel", "AudioProcessor", "ImageProcessor"):
        setattr(script, name, once(getattr(script, name)))
    script.ImageProcessor = keep_open(script.ImageProcessor)
    script.Net = once(loading_once(script.Net))
    script.torch = once_loading_torch(script.torch, "net.pth")


def keep_open(build):
    """The image processor without its `with` statement, which would close the face detector after the first clip."""

    def opened(*args, **kwargs):
        processor = build(*args, **kwargs)
        processor.close = lambda: None
        return processor

    return opened


def loading_once(network_class):
    """A Net whose second load_state_dict finds everything in place."""

    class LoadedOnce(network_class):
        filled = False

        def load_state_dict(self, state, *args, **kwargs):
            if self.filled:
                return (), ()
            self.filled = True
            return super().load_state_dict(state, *args, **kwargs)

    return LoadedOnce


def once_loading_torch(torch, name):
    """The script's `torch` with a `load` that opens `name` one time only, and as plain tensors."""
    opened = []

    class Once(types.ModuleType):
        def __getattr__(self, attribute):
            return getattr(torch, attribute)

        def load(self, path, *args, **kwargs):
            if str(path).endswith(name) and opened:
                return {}
            opened.append(path)
            return torch.load(path, *args, weights_only=True, **kwargs)

        def manual_seed(self, seed):
            return torch.manual_seed(seed if self.clip_seed is None else self.clip_seed)

    module = Once("torch")
    module.clip_seed = None
    return module


def seed_of_the_clip(script, seed):
    """Let the script's torch.manual_seed(42) take the clip's seed."""
    script.torch.clip_seed = seed


def captured_frames(script, keep):
    """Hand the frames to `keep` where the encoder would get them."""
    script.tensor_to_video = keep


class WholeSound:
    """Stands where the vocal separator would be when its weights are random: the sound passes unchanged."""

    def __init__(self, output_dir="", **settings):
        self.output_dir = output_dir
        self.model_instance = self

    def load_model(self, name):
        pass

    def separate(self, path):
        import os
        import shutil

        os.makedirs(self.output_dir, exist_ok=True)
        name = os.path.basename(path)
        shutil.copyfile(path, os.path.join(self.output_dir, name))
        return [name]


class NoIdentity:
    """Stands where insightface's networks would be when there are none: one face as large as the picture."""

    def __init__(self, **settings):
        self.models = {}

    def prepare(self, **settings):
        pass

    def get(self, picture):
        import numpy

        embedding = numpy.random.default_rng(0).standard_normal(512).astype("float32")
        return [{"bbox": [0, 0, picture.shape[1], picture.shape[0]], "embedding": embedding}]


def fabricated_front_end():
    """With fabricated weights only: no vocal separator and no insightface, which come as finished ONNX files."""
    from hallo.datasets import audio_processor, image_processor

    audio_processor.Separator = WholeSound
    image_processor.FaceAnalysis = NoIdentity
