"""What stands between FlashHead's code as published and one process of today's packages; the checkout stays as is."""

import importlib.machinery
import sys
import types


def empty_module(name, **attributes):
    """A module of that name with these attributes and nothing else."""
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # other packages ask for it
    vars(module).update(attributes)


def no_xfuser():
    """Names that the network imports to spread its attention over several cards, which one process never asks for."""
    empty_module("xfuser")
    empty_module("xfuser.core")
    names = ("get_sequence_parallel_rank", "get_sequence_parallel_world_size", "get_sp_group")
    empty_module("xfuser.core.distributed", **dict.fromkeys(names))
    empty_module("xfuser.core.long_ctx_attention", xFuserLongContextAttention=None)


def no_face_detector():
    """An empty mediapipe: its face detector is asked with `--use_face_crop` only, which no preset uses."""
    empty_module("mediapipe")


def eager_networks():
    """No torch.compile: it changes speed only, and wants a C++ compiler and minutes in every process."""
    from flash_head.src.pipeline import flash_head_pipeline

    flash_head_pipeline.COMPILE_MODEL = flash_head_pipeline.COMPILE_VAE = False


def cuda_is_cpu():
    """Without a card: the device is the CPU, there is nothing to wait for, and numbers are float32 for bfloat16."""
    from functools import partial

    import torch
    from flash_head import inference

    if not torch.cuda.is_available():
        inference.get_device = lambda *degrees: "cpu"
        inference.FlashHeadPipeline = partial(inference.FlashHeadPipeline, param_dtype=torch.float32)
        torch.cuda.synchronize = lambda device=None: None


BY_NAME = {shim.__name__: shim for shim in (no_xfuser, no_face_detector, eager_networks, cuda_is_cpu)}


def apply(names):
    """Puts the named shims in place, in the order that imports need; the checkout is on the module path by then."""
    for name, shim in BY_NAME.items():
        if name in names:
            shim()
