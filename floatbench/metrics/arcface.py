"""ArcFace identity embeddings: alignment, insightface's class on `w600k_r50`, and the iresnet networks in torch.

Source: Deng et al., "ArcFace" (CVPR 2019); alignment and input scaling as in insightface. The alignment is ours (equal
to 1e-9) because insightface's calls a deprecated function, which warns at every face; the torch networks are ours
because insightface's wheel has none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from floatbench.errors import DataError
from floatbench.metrics import scrfd
from floatbench.metrics.base import Backbone
from floatbench.metrics.fused import bend
from floatbench.metrics.network import NetworkBackbone, in_batches, quicker, seeded_state
from floatbench.metrics.onnx_network import read_network
from floatbench.metrics.onnx_session import insightface_zoo, memory_errors, open_session
from floatbench.metrics.winograd import available
from floatbench.types import ClipMedia, Features

SIDE = 112
DIMENSIONS = 512
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the five points belong in the 112 x 112 picture."""


def similarity(points: np.ndarray, target: np.ndarray = TEMPLATE) -> np.ndarray:
    """Least-squares similarity (scale, rotation, shift; no reflection) from (n, 2) points to a target, (2, 3).

    In the plane Umeyama's solution is one complex number: with centred points p and q the best factor is
    sum(conj(p) q) / sum(|p|^2).
    """
    p, q = np.asarray(points, np.float64), np.asarray(target, np.float64)
    centre_p, centre_q = p.mean(axis=0), q.mean(axis=0)
    zp, zq = ((a - c) @ np.array([1, 1j]) for a, c in ((p, centre_p), (q, centre_q)))
    factor = np.vdot(zp, zq) / max(np.vdot(zp, zp).real, 1e-12)
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.concatenate([linear, (centre_q - linear @ centre_p)[:, None]], axis=1)


def align(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The (112, 112, 3) uint8 face of an RGB frame: five points onto the template, bilinear, black outside."""
    return cv2.warpAffine(frame, similarity(points), (SIDE, SIDE), borderValue=0.0)


def preprocess(faces: np.ndarray) -> np.ndarray:
    """(B, 112, 112, 3) uint8 RGB -> (B, 3, 112, 112) float32, (v - 127.5) / 127.5."""
    return np.ascontiguousarray((faces.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5)


class IResNetBlock(nn.Module):
    """Norm, 3x3, norm, PReLU, 3x3 with the stride, norm, plus the shortcut; nothing after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """(B, 3, 112, 112) -> (B, 512), not normalised; key names of insightface's `backbone.pth`.

    Args:
        blocks: per stage; (3, 4, 14, 3) is r50, (3, 13, 30, 3) is r100.
        width: channels of the first stage, 64 in every published network.
    """

    def __init__(self, blocks: tuple[int, int, int, int] = (3, 4, 14, 3), width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            layers = [IResNetBlock(inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1) for i in range(count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * 7 * 7, DIMENSIONS)
        self.features = nn.BatchNorm1d(DIMENSIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


R50 = (3, 4, 14, 3)
R100 = (3, 13, 30, 3)


def aligned_faces(clip: ClipMedia, found: Features) -> np.ndarray:
    """(n, 112, 112, 3) uint8 aligned faces of the frames that have one."""
    rows = np.flatnonzero(found["found"])
    return np.stack([align(clip.frames[row], found["points"][row]) for row in rows])


def scatter(found: Features, values: np.ndarray) -> Features:
    """The detector's arrays with `embeddings` (T, 512), 0 without a face."""
    embeddings = np.zeros((len(found["found"]), values.shape[1]), np.float32)
    embeddings[found["found"]] = values
    return {**found, "embeddings": embeddings}


class ArcFaceOnnx(Backbone):
    """`w600k_r50` on the largest face of every frame, by ONNX Runtime or, where the same layers are faster, by torch.

    Features: `found` (T,), `faces` (T,) faces in the frame, `boxes` (T, 4), `points` (T, 5, 2), `embeddings` (T, 512).

    Args:
        batch: faces per forward pass; changes nothing but rounding.

    Attributes:
        quick: `load` gives the network to torch on a processor; False leaves it to ONNX Runtime, for comparisons.
    """

    id = "arcface"
    weights = ("arcface-w600k-r50", scrfd.WEIGHTS)
    licence = "InsightFace models: non-commercial research only"

    def __init__(self, batch: int = 8) -> None:
        self.batch = batch
        self.quick = True
        self._recogniser: Any = None
        self._detector: scrfd.Detector | None = None

    def settings(self) -> dict[str, Any]:
        return {**scrfd.settings(), "align": "five points, similarity, 112"}

    def load(self, device: str = "cpu") -> None:
        if self._recogniser is not None:
            return
        from floatbench import weights

        file = weights.path(self.weights[0])
        self._recogniser = open_recogniser(file, device)
        if self.quick and device == "cpu":
            self._recogniser = torch_recogniser(file, self._recogniser) or self._recogniser
        self._detector = scrfd.shared_detector(device)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """(B, 112, 112, 3) uint8 RGB aligned faces -> (B, 512) float32, not normalised."""

        def one(chunk: np.ndarray) -> torch.Tensor:
            with memory_errors():
                return torch.from_numpy(self._recogniser.forward(chunk.transpose(0, 3, 1, 2).astype(np.float32)))

        values, self.batch = in_batches(one, faces, self.batch, self.id)
        return values

    def extract(self, clip: ClipMedia) -> Features:
        self.load()
        assert self._detector is not None
        found = self._detector.largest_faces(clip)
        if not found["found"].any():
            return scatter(found, np.zeros((0, DIMENSIONS), np.float32))
        return scatter(found, self.embed(aligned_faces(clip, found)))


def open_recogniser(model: Path, device: str = "cpu") -> Any:
    """insightface's `ArcFaceONNX` of a file; it sees whether the network scales 0..255 itself, as those of MXNet do.

    Raises DataError when the network does not map 112 x 112 pictures to 512 numbers.
    """
    session = open_session(model, device)
    inputs, outputs = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    if list(inputs[1:]) != [3, SIDE, SIDE] or outputs[-1] != DIMENSIONS:
        fix = "floatbench weights fetch arcface-w600k-r50 --force"
        raise DataError(f"{model} maps {inputs} to {outputs}, not 3 x 112 x 112 to 512", fix=fix)
    return insightface_zoo().ArcFaceONNX(str(model), session)


class TorchRecogniser:
    """An ArcFace network in torch layers with the call of insightface's `ArcFaceONNX`."""

    def __init__(self, network: nn.Module, mean: float, scale: float) -> None:
        self.network, self.mean, self.scale = network, mean, scale

    def forward(self, faces: np.ndarray) -> np.ndarray:
        """(B, 3, 112, 112) float32 in 0..255 -> (B, 512) float32."""
        with torch.inference_mode():
            return self.network((torch.from_numpy(np.ascontiguousarray(faces)) - self.mean) / self.scale).numpy()


def torch_recogniser(file: Path, recogniser: Any) -> TorchRecogniser | None:
    """The recogniser's network in torch for the CPU, 1.7 times faster.

    None where the file has layers that `read_network` does not know, or where noise is not embedded alike to 1e-4.
    """
    network = read_network(file)
    if network is None:
        return None
    quicker(network, norms_follow=False, channels_last=True, products=available())
    bend(network)
    found = TorchRecogniser(network, recogniser.input_mean, recogniser.input_std)
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, SIDE, SIDE)).astype(np.float32)
    expected = recogniser.forward(noise)
    close = np.abs(found.forward(noise) - expected).max() <= 1e-4 * np.abs(expected).max()
    return found if close else None


class ArcFaceTorch(NetworkBackbone):
    """An iresnet of insightface's `backbone.pth` files on the same aligned faces; features as `ArcFaceOnnx`.

    Args:
        name: id of the backbone.
        weights: name in the registry.
        blocks: layout of the network.
        batch: faces per forward pass.
    """

    licence = "InsightFace models: non-commercial research only"
    default_batch = 64
    norms_follow = True

    def __init__(
        self, name: str, weights: str, blocks: tuple[int, int, int, int] = R50, batch: int | None = None
    ) -> None:
        super().__init__(batch)
        self.id = name
        self.weights = (weights, scrfd.WEIGHTS)
        self.blocks = blocks
        self._detector: scrfd.Detector | None = None

    def settings(self) -> dict[str, Any]:
        return {**scrfd.settings(), "align": "five points, similarity, 112", "blocks": list(self.blocks)}

    def build(self) -> nn.Module:
        return IResNet(self.blocks)

    def load(self, device: str = "cpu") -> None:
        super().load(device)
        self._detector = scrfd.shared_detector(device)

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """(B, 112, 112, 3) uint8 RGB aligned faces -> (B, 512) float32, not normalised."""
        return self.forward(lambda network, x: network(x), preprocess(faces))

    def extract(self, clip: ClipMedia) -> Features:
        if self._detector is None:
            self.load()
        assert self._detector is not None
        found = self._detector.largest_faces(clip)
        if not found["found"].any():
            return scatter(found, np.zeros((0, DIMENSIONS), np.float32))
        return scatter(found, self.embed(aligned_faces(clip, found)))


def to_onnx(network: IResNet, path: Path) -> None:
    """Writes the network as ONNX with a free batch axis, node for node, without a tracer."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes: list[Any] = []
    constants: list[Any] = []

    def add(kind: str, module: nn.Module, names: tuple[str, ...], x: str, **attributes: Any) -> str:
        out = f"v{len(nodes)}"
        inputs = []
        for name in names:
            value = module.get_parameter(name) if name in dict(module.named_parameters()) else module.get_buffer(name)
            array = value.detach().numpy()
            inputs.append(f"{out}.{name}")
            constants.append(numpy_helper.from_array(array[:, None, None] if kind == "PRelu" else array, inputs[-1]))
        nodes.append(helper.make_node(kind, [x, *inputs], [out], name=f"{kind}_{out}", **attributes))
        return out

    def conv(module: Any, x: str) -> str:
        pads = [module.padding[0]] * 4
        return add("Conv", module, ("weight",), x, strides=list(module.stride), pads=pads)

    def norm(module: Any, x: str) -> str:
        names = ("weight", "bias", "running_mean", "running_var")
        return add("BatchNormalization", module, names, x, epsilon=module.eps)

    def block(module: Any, x: str) -> str:
        y = norm(module.bn2, conv(module.conv1, norm(module.bn1, x)))
        y = norm(module.bn3, conv(module.conv2, add("PRelu", module.prelu, ("weight",), y)))
        shortcut = x if module.downsample is None else norm(module.downsample[1], conv(module.downsample[0], x))
        nodes.append(helper.make_node("Add", [y, shortcut], [f"v{len(nodes)}"]))
        return f"v{len(nodes) - 1}"

    x = add("PRelu", network.prelu, ("weight",), norm(network.bn1, conv(network.conv1, "input.1")))
    for stage in range(1, 5):
        for module in network.get_submodule(f"layer{stage}").children():
            x = block(module, x)
    nodes.append(helper.make_node("Flatten", [norm(network.bn2, x)], ["flat"]))
    x = norm(network.features, add("Gemm", network.fc, ("weight", "bias"), "flat", transB=1))
    nodes.append(helper.make_node("Identity", [x], ["embedding"]))
    image = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSIONS])
    graph = helper.make_graph(nodes, "iresnet", [image], [result], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def fabricate(path: Path, seed: int) -> None:
    """Seeded random r50 weights as `w600k_r50.onnx`."""
    network = IResNet(R50).eval()
    network.load_state_dict(calm_state(network, seed))
    to_onnx(network, path)


def fabricate_torch(path: Path, seed: int, blocks: tuple[int, int, int, int] = R50) -> None:
    """Seeded random weights under the key names of `backbone.pth`."""
    torch.save(calm_state(IResNet(blocks), seed), path)


fabricate_r100 = partial(fabricate_torch, blocks=R100)


def calm_state(network: nn.Module, seed: int) -> dict[str, Any]:
    """`seeded_state` with PReLU slopes near 0.25 and damped residual branches: fifty random blocks must not blow up."""
    state = seeded_state(network, seed)
    for name, tensor in state.items():
        if name.endswith("prelu.weight"):
            state[name] = 0.25 + (tensor - tensor.mean())
        elif name.endswith("bn3.weight"):
            state[name] = 0.2 * tensor
    return state


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "arcface": ArcFaceOnnx,
    "arcface-torch-r50": partial(ArcFaceTorch, "arcface-torch-r50", "arcface-torch-r50", R50),
    "arcface-torch-r100": partial(ArcFaceTorch, "arcface-torch-r100", "arcface-torch-r100", R100),
}
