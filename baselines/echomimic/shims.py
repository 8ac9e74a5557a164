"""What EchoMimic's code needs changed at run time, by name; the manifest and every report list the same names.

Nothing of the checkout is edited: each shim replaces an attribute of a module that the checkout imports.
"""

import functools
import types


def cuda_is_cpu():
    """Let "cuda", written literally in seven places, be the CPU when there is no card."""
    import torch

    if torch.cuda.is_available():
        return
    torch.nn.Module.to = on_cpu(torch.nn.Module.to)
    torch.Tensor.to = on_cpu(torch.Tensor.to)
    from diffusers import DiffusionPipeline
    from src.models.mutual_self_attention import ReferenceAttentionControl

    DiffusionPipeline.to = on_cpu(DiffusionPipeline.to)
    hooks = ReferenceAttentionControl.register_reference_hooks
    hooks.__defaults__ = tuple(cpu_for(value) for value in hooks.__defaults__)


def cpu_for(value):
    """A CPU device in place of a card's, any other value unchanged."""
    import torch

    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.startswith("cuda") else value


def on_cpu(method):
    """A `to` that takes cuda for the CPU."""

    @functools.wraps(method)
    def to(self, *args, **kwargs):
        return method(self, *(cpu_for(a) for a in args), **{name: cpu_for(a) for name, a in kwargs.items()})

    return to


def loaded_once(script):
    """Make the networks that `main` builds only once, instead of for every call; their files are opened once too."""
    for name, method in (
        ("AutoencoderKL", "from_pretrained"),
        ("UNet2DConditionModel", "from_pretrained"),
        ("EchoUNet3DConditionModel", "from_pretrained_2d"),
    ):
        setattr(script, name, types.SimpleNamespace(**{method: once(getattr(getattr(script, name), method), True)}))
    script.FaceLocator = once(script.FaceLocator, True)
    script.MTCNN = once(script.MTCNN)
    script.load_audio_model = once(script.load_audio_model)
    script.Audio2VideoPipeline = once(script.Audio2VideoPipeline)


def once(function, weights_too=False):
    """A builder that keeps its first object; with `weights_too` that object fills itself one time only."""
    kept = []

    @functools.wraps(function, updated=())
    def build(*args, **kwargs):
        if not kept:
            kept.append(function(*args, **kwargs))
            if weights_too:
                kept[0].load_state_dict = filled_once(kept[0], kept[0].load_state_dict)
        return kept[0]

    build.kept = kept
    return build


def filled_once(network, official):
    """A load_state_dict that works once and keeps what the file lacked in `network.lacked`."""

    def load_state_dict(state, *args, **kwargs):
        if hasattr(network, "lacked"):
            return None
        wanted = network.state_dict()
        network.lacked = [
            name for name, value in wanted.items() if name not in state or state[name].shape != value.shape
        ]
        return official(state, *args, **kwargs)

    return load_state_dict


class ScriptTorch(types.ModuleType):
    """The script's `torch`, whose `load` opens each file once and as plain tensors."""

    def __init__(self, torch):
        super().__init__("torch")
        self.official, self.opened = torch, set()

    def __getattr__(self, name):
        return getattr(self.official, name)

    def load(self, path, *args, **kwargs):
        if str(path) in self.opened:
            return {}
        self.opened.add(str(path))
        return self.official.load(path, *args, weights_only=True, **kwargs)


def captured_frames(script, keep):
    """Hand the frames to `keep` where the first encoder would get them."""
    script.save_videos_grid = keep
