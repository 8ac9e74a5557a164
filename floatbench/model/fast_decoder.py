"""The fast twin of `Decoder.forward`: many latents of one source, decoded in a stream.

The same numbers as the decoder to rounding, in an order that costs less:

- the source's feature maps are projected to RGB once: the 1x1 convolution, the warp and the mask commute, so that the
  picture needs three warped channels a level instead of C, and the last level no blend at all;
- one matrix product gives the styles of all latents and all layers, another their demodulation;
- for float32 on a CPU styles and the first three layers, where rounding costs most and arithmetic least, are float64;
- the convolution weights are scaled once, sqrt(2) of the activation is folded into demodulation and bias; where one
  latent at a time is decoded, style, demodulation and bias go into the convolutions of 32 x 32 pixels and more;
- on a CPU maps are warped as rows of channels (`floatbench.model.warping`), a large last level is made in strips, and
  3x3 convolutions of many channels need a quarter of the products (`floatbench.model.quarter_products`);
- on a CPU the small pictures of several latents are made at once, since there a weight outweighs the picture;
- channels-last memory (on a CPU above 32 x 32 pixels only); optionally half-precision convolutions (flow, grid, mask
  and warp stay float32) and compilation.

On a CPU latents are decoded one by one above the small pictures, which is faster there; on CUDA in batches, optionally
as CUDA graphs. Compiled or captured frames have one shape: a short batch is filled up with its last latent, since
another shape would be compiled or captured anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.device import ran_out_of_memory
from floatbench.model.anchor import Anchor, doubled, moved_picture
from floatbench.model.autoencoder import Decoder, ToFlow, ToRGB
from floatbench.model.captured import Captured
from floatbench.model.layers import DEMODULATION_EPS, GAIN, SLOPE, Blur, StyledConv
from floatbench.model.products import convolved, kernel_of, up_sampled
from floatbench.model.quarter_products import StyledWinograd, pays
from floatbench.model.rising import Rising
from floatbench.model.warping import bordered, warp_rows

Precision = Literal["fp32", "bf16", "fp16"]
Compile = bool | Literal["max"]
"""Whether to compile; `max` also lets the compiler time its kernels and choose, which takes minutes."""
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CUDA_BATCH = 25
"""Half a window of 50 frames, so that no batch of it is short."""
DEEP_LEVEL = 32
"""Up to this resolution float32 convolutions on a CPU are channels-first: they sum thousands of products there, which
channels-last kernels add up in one chain, with twice the rounding error, and they are faster this way too. Their flow
heads are float64."""
TINY = 1e-6
STRIPS, HALO = 4, 2
"""Strips of rows that the last level of a large picture is made in, one latent at a time on a CPU, and the rows of the
smaller picture that are added on each side: the two convolutions and the blur reach three rows of the larger one."""
STRIPPED = 256
"""From this resolution on."""
EXACT_LEVEL = 8
"""Up to this resolution float32 convolutions on a CPU run in float64: rounding there moves every warp that follows."""
TOGETHER, SMALL_LEVEL = 8, 16
"""Latents whose pictures up to this resolution are made at once on a CPU."""


@dataclass(frozen=True)
class PreparedSource:
    """One source picture, prepared: per level the feature map (1, C, R, R) and its RGB projection (1, 3, R, R), both
    channels-last. The last level needs no feature map.

    An anchored decoder's last colours are doubled, and `anchor` holds what `Anchor` does: flows, missing, mask; where
    faces are painted, also the coefficients at rest, and whether this one is.
    """

    features: tuple[Tensor, ...]
    colours: tuple[Tensor, ...]
    anchor: tuple[Tensor, ...] = ()


def compiled(function: Callable[..., Tensor], how: Compile) -> Callable[..., Tensor]:
    """The function, compiled as asked for. Graphs are captured here and not by the compiler."""
    if not how:
        return function
    return torch.compile(function, dynamic=False, mode="max-autotune-no-cudagraphs" if how == "max" else None)


class FastDecoder:
    """Decodes latents of one prepared source after another with constant memory.

    Args:
        decoder: in evaluation mode; its weights are copied in prepared form, so make a new one when they change.
        precision: of the convolutions; `fp32` is exact to rounding.
        compile: run the frame through `torch.compile` (seconds to minutes at the first frame); `max` also lets the
            compiler time its kernels.
        graphs: replay the frame, styles included, as a CUDA graph (CUDA only; not yet measured on CUDA).
        batch: latents decoded at once; None is 1 on a CPU and 25 on CUDA.
        blur: behind the up-sampling: a grouped convolution (`torch`) or one Triton kernel (not yet measured on CUDA).

    Attributes:
        notes: what a user should know: that memory ran out and the batch was halved.

    Raises:
        ValueError: an unknown precision, or graphs without CUDA.
    """

    def __init__(
        self,
        decoder: Decoder,
        precision: Precision = "fp32",
        compile: Compile = False,
        graphs: bool = False,
        batch: int | None = None,
        blur: Literal["torch", "triton"] = "torch",
    ) -> None:
        if precision not in DTYPES:
            raise ValueError(f"precision must be one of {', '.join(DTYPES)}, got {precision!r}")
        self._decoder, self._dtype = decoder, DTYPES[precision]
        self.device = decoder.input.input.device
        if graphs and self.device.type != "cuda":
            raise ValueError("CUDA graphs need a model on a CUDA device")
        if batch is not None and batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.batch = batch or (CUDA_BATCH if self.device.type == "cuda" else 1)
        self.notes: list[str] = []
        self._folds = self.device.type == "cpu"
        self._eager_cpu = self._folds and not compile  # the compiler makes kernels of its own
        self._one_kernel = None
        if blur == "triton":
            from floatbench.model.blur_triton import blur as one_kernel

            self._one_kernel = one_kernel
        self._layers = _styled_layers(decoder)
        self._painter, self._basis = decoder.painter, decoder.direction.basis()
        self._colour_heads = cast("list[ToRGB]", list(decoder.to_rgbs))
        with torch.no_grad():
            self._prepare()
        self._one_shape = bool(compile) or graphs
        self._frame = compiled(self._anchored_frame if decoder.anchored else self._eager_frame, compile)
        self._captured = Captured(self._flat_frame) if graphs else None

    def _prepare(self) -> None:
        """Scaled weights, folded biases and the two matrices of all styles and demodulations."""
        layers, heads = self._layers, cast("list[ToFlow]", list(self._decoder.to_flows))
        modulated = [layer.conv for layer in layers] + [head.conv for head in heads]
        deep = self._dtype == torch.float32 and self.device.type == "cpu"
        self._style_dtype = torch.float64 if deep else torch.float32
        sizes = [4, *(head.resolution for head in heads for _ in range(2))]
        self._dtypes = [torch.float64 if deep and size <= EXACT_LEVEL else self._dtype for size in sizes]
        self._formats = [
            torch.contiguous_format if deep and size <= DEEP_LEVEL else torch.channels_last for size in sizes
        ]
        style = torch.cat([conv.modulation.weight.to(self._style_dtype) * conv.modulation.scale for conv in modulated])
        self._style_weight = style
        self._style_bias = torch.cat([conv.modulation.bias for conv in modulated]).to(self._style_dtype)
        self._style_sizes = [len(conv.modulation.bias) for conv in modulated]
        self._weights, self._powers, self._biases = [], [], []
        self._quarters: list[StyledWinograd | None] = []
        for layer, dtype, layout, size in zip(layers, self._dtypes, self._formats, sizes, strict=True):
            weight = layer.conv.weight[0].to(self._style_dtype) * layer.conv.scale
            self._powers.append(weight.square().sum((2, 3)))
            quarter = deep and self._eager_cpu and not layer.conv.up and dtype == torch.float32
            self._quarters.append(StyledWinograd(weight) if quarter and pays(weight, size) else None)
            if layer.conv.up:
                weight = weight.transpose(0, 1).contiguous()
            if dtype == torch.float64:
                self._weights.append(kernel_of(weight, layer.conv.up))
            else:
                self._weights.append(weight.to(dtype).contiguous(memory_format=layout))
            self._biases.append(layer.activate.bias.to(dtype) * GAIN)
        flow = [head.conv.weight[0, :, :, 0, 0].to(self._style_dtype) * head.conv.scale for head in heads]
        self._flow_weights = [
            weight if head.resolution <= DEEP_LEVEL else weight.float()
            for weight, head in zip(flow, heads, strict=True)
        ]
        self._flow_biases = [head.bias[0, :, 0, 0] for head in heads]
        self._heads, self._warps = heads, [head.warp for head in heads]
        blur = layers[1].conv.blur
        assert isinstance(blur, Blur)
        kernel = blur.kernel  # the factor four of the up-sampling included
        self._blurs = [
            kernel.expand(layer.conv.weight.shape[1], 1, 4, 4).to(dtype).contiguous()
            for layer, dtype in zip(layers, self._dtypes, strict=True)
        ]
        self._up3 = kernel.expand(3, 1, 4, 4).contiguous()

    @torch.no_grad()
    def source(self, features: Sequence[Tensor]) -> PreparedSource:
        """Prepares the feature maps of one source (batch 1) once for all its latents."""
        kept, colours = [], []
        if self._decoder.anchored:
            return self._anchored_source(features)
        for level, (feature, head) in enumerate(zip(features, self._colour_heads, strict=True)):
            colour = head.conv[0](feature.float())
            colours.append(colour.contiguous(memory_format=torch.channels_last))
            last = level == len(features) - 1
            kept.append(feature.new_zeros(0) if last else self._map(level, feature.float()))
        return PreparedSource(tuple(kept), tuple(colours))

    def _bags(self, level: int) -> bool:
        """Whether `warp_rows` warps the maps of a level."""
        return self._eager_cpu and self._warps[level] == "bilinear"

    def _map(self, level: int, feature: Tensor) -> Tensor:
        """A feature map as it is warped."""
        if self._bags(level):
            return bordered(feature)
        return feature.contiguous(memory_format=torch.channels_last)

    def _anchored_source(self, features: Sequence[Tensor]) -> PreparedSource:
        """The same, and what the decoder shows of the source at rest."""
        levels = len(self._heads)
        maps, (picture, rest, *known) = features[:levels], features[levels:]
        kept = tuple(part.float().contiguous(memory_format=torch.channels_last) for part in maps[:-1])
        colours = [head.conv[0](part.float()) for part, head in zip(maps, self._colour_heads, strict=True)]
        colours[-1] = doubled(colours[-1])
        shown, flows, _, mask = self._shown(rest.to(self._style_dtype), kept, tuple(colours), ())
        anchor = (*flows, doubled(picture.float() - shown), mask)
        if self._painter is not None:
            anchor = (*anchor, rest.float() @ self._basis, *known)
        return PreparedSource(kept, tuple(colours), anchor)

    def __call__(self, latents: Tensor, source: PreparedSource) -> Tensor:
        """latents (T, D) -> unclamped pictures (T, 3, R, R), float32; keeps them all, `stream` does not."""
        reused = self._captured is not None
        return torch.cat([part.clone() if reused else part for part in self.stream(latents, source)])

    def stream(self, latents: Tensor, source: PreparedSource) -> Iterator[Tensor]:
        """latents (T, D) -> batches (b, 3, R, R) in order, float32; on CUDA graphs each is valid until the next one."""
        width = self._style_weight.shape[1]
        if latents.ndim != 2 or latents.shape[1] != width:
            raise ValueError(f"latents must be (T, {width}), got {tuple(latents.shape)}")
        with torch.no_grad():
            latents, start = latents.to(self.device, self._style_dtype), 0
            if self.batch == 1 and self._eager_cpu and not self._decoder.anchored:
                yield from self._one_by_one(latents, source)
                return
            while start < len(latents):
                part = latents[start : start + self.batch]
                try:
                    pictures = self._pictures(part, source)
                except (RuntimeError, MemoryError) as error:
                    if not ran_out_of_memory(error) or not self._smaller():
                        raise
                    continue
                start += len(part)
                yield pictures

    def _one_by_one(self, latents: Tensor, source: PreparedSource) -> Iterator[Tensor]:
        """Pictures (1, 3, R, R), the small ones below them made for several latents at once."""
        small = sum(head.resolution <= SMALL_LEVEL for head in self._heads)
        for some in latents.split(TOGETHER):
            begun = self._raised(self._begun(some), source.features, source.colours, range(small))
            for i in range(len(some)):
                levels = range(small, len(self._heads))
                picture = self._raised(begun.item(i), source.features, source.colours, levels).rgb
                assert picture is not None
                yield picture

    def _pictures(self, latents: Tensor, source: PreparedSource) -> Tensor:
        given, missing = len(latents), self.batch - len(latents)
        if self._one_shape and missing:
            latents = torch.cat((latents, latents[-1:].expand(missing, -1)))
        if self._captured is not None:
            pictures = self._captured(latents, *source.features, *source.colours, *source.anchor)
        else:
            pictures = self._frame(latents, source.features, source.colours, *source.anchor)
        return pictures[:given]

    def _smaller(self) -> bool:
        """Halves the batch, once, and says so; False when that was done before or the batch is 1."""
        if self.notes or self.batch == 1:
            return False
        before, self.batch = self.batch, self.batch // 2
        self.notes.append(f"the device ran out of memory: {self.batch} frames are decoded at once instead of {before}")
        torch.cuda.empty_cache()
        return True

    def _styles(self, latents: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Styles (b, C_in) of every layer and flow head, and gains (b, C_out) = sqrt(2) demodulation of every layer."""
        styles = list(F.linear(latents, self._style_weight, self._style_bias).split(self._style_sizes, dim=1))
        if self._dtype == torch.float16:
            # a demodulated layer does not depend on the size of its style, which may leave the range of fp16
            largest = [style.abs().amax(1, keepdim=True).clamp_min(TINY) for style in styles[: len(self._layers)]]
            styles[: len(largest)] = [style / size for style, size in zip(styles, largest, strict=False)]
        gains = [
            GAIN * torch.rsqrt(F.linear(style.square(), power) + DEMODULATION_EPS)
            for style, power in zip(styles, self._powers, strict=False)
        ]
        return styles, gains

    def _flat_frame(self, latents: Tensor, *maps: Tensor) -> Tensor:
        """The frame with all its inputs side by side, as graphs take them."""
        levels = len(self._heads)
        split = levels - 1 if self._decoder.anchored else levels  # an anchored decoder's last level shows colours alone
        end = split + levels
        return self._frame(latents, maps[:split], maps[split:end], *maps[end:])

    def _eager_frame(self, latents: Tensor, features: tuple[Tensor, ...], colours: tuple[Tensor, ...]) -> Tensor:
        picture = self._raised(self._begun(latents), features, colours, range(len(colours))).rgb
        assert picture is not None
        return picture

    def _begun(self, latents: Tensor) -> Rising:
        """The map of 4 x 4 pixels of each latent."""
        styles, gains = self._styles(latents)
        x = self._decoder.input.input.to(self._dtypes[0]).expand(len(latents), -1, -1, -1)
        return Rising(self._styled(0, x, styles[0], gains[0]), None, None, styles, gains)

    def _raised(
        self, begun: Rising, features: tuple[Tensor, ...], colours: tuple[Tensor, ...], levels: range
    ) -> Rising:
        """The pictures some levels further up."""
        x, raw, rgb, styles, gains = begun
        batch = len(x)
        for level in levels:
            colour = colours[level]
            x, raw = self._level(level, x, raw, styles, gains)
            coordinates = self._heads[level].coordinates(torch.tanh(raw[:, :2]))
            mask, warp = torch.sigmoid(raw[:, 2:]), self._warps[level]
            warped = F.grid_sample(colour.expand(batch, -1, -1, -1), coordinates, warp, align_corners=False)
            rgb = self._colour(level, warped * mask, rgb)
            if level < len(colours) - 1:
                moved = self._moved(level, features[level], coordinates)
                x = x.float().lerp_(moved, mask).to(self._dtype)
        return Rising(x, raw, rgb, styles, gains)

    def _anchored_frame(
        self, latents: Tensor, features: tuple[Tensor, ...], colours: tuple[Tensor, ...], *anchor: Tensor
    ) -> Tensor:
        """The same of an anchored decoder, see `Decoder`."""
        levels = len(self._heads)
        flows, (missing, still, *known) = anchor[:levels], anchor[levels:]
        shown, _, coordinates, mask = self._shown(latents, features, colours, flows)
        made = Anchor(flows, missing, still).completed(shown, coordinates, mask)
        if self._painter is None:
            return made
        return self._painter(made, coordinates, latents.float() @ self._basis, *known)

    def _shown(
        self,
        latents: Tensor,
        features: tuple[Tensor, ...],
        colours: tuple[Tensor, ...],
        rest: tuple[Tensor, ...],
    ) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """What an anchored decoder itself shows: picture, flows, last coordinates and mask; `rest` is empty at rest."""
        styles, gains = self._styles(latents)
        batch = len(latents)
        x = self._decoder.input.input.to(self._dtypes[0]).expand(batch, -1, -1, -1)
        x = self._styled(0, x, styles[0], gains[0])
        raw, rgb, flows = None, None, []
        coordinates = mask = x
        for level, colour in enumerate(colours):
            x, raw = self._level(level, x, raw, styles, gains)
            flows.append(torch.tanh(raw[:, :2]))
            coordinates = self._heads[level].anchored(flows[-1], rest[level] if rest else flows[-1])
            mask, colour = torch.sigmoid(raw[:, 2:]), colour.expand(batch, -1, -1, -1)
            if level == len(colours) - 1:
                return self._colour(level, moved_picture(colour, coordinates) * mask, rgb), flows, coordinates, mask
            warp = self._warps[level]
            warped = F.grid_sample(colour, coordinates, warp, "border", align_corners=False)
            rgb = self._colour(level, warped * mask, rgb)
            feature = features[level].expand(batch, -1, -1, -1)
            moved = F.grid_sample(feature, coordinates, warp, "border", align_corners=False)
            x = x.float().lerp_(moved, mask).to(self._dtype)
        raise AssertionError("a decoder has levels")

    def _level(
        self, level: int, x: Tensor, raw: Tensor | None, styles: list[Tensor], gains: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The picture of the next level, and flow and mask so far, before tanh and sigmoid, (b, 3, R, R), float32.

        The last picture is read by its own head alone, so that a large one is made strip by strip: parts of it stay in
        the cache, and none is so large that the system hands out its memory anew for every frame.
        """
        head = self._heads[level]
        if self._eager_cpu and len(x) == 1 and level == len(self._heads) - 1 and head.resolution >= STRIPPED:
            size = x.shape[2]
            step = size // STRIPS
            parts = []
            for start in range(0, size, step):
                first = max(start - HALO, 0)
                wider = self._doubled_picture(level, x[:, :, first : start + step + HALO], styles, gains)
                part = wider[:, :, 2 * (start - first) :][:, :, : 2 * step]
                parts.append(self._head(level, part, styles[len(self._layers) + level]))
            here = torch.cat(parts, dim=2)
        else:
            x = self._doubled_picture(level, x, styles, gains)
            here = self._head(level, x, styles[len(self._layers) + level])
        return x, here if raw is None else here + self._doubled(raw)

    def _doubled_picture(self, level: int, x: Tensor, styles: list[Tensor], gains: list[Tensor]) -> Tensor:
        """The two styled convolutions of a level."""
        x = self._styled(2 * level + 1, x, styles[2 * level + 1], gains[2 * level + 1])
        return self._styled(2 * level + 2, x, styles[2 * level + 2], gains[2 * level + 2])

    def _moved(self, level: int, feature: Tensor, coordinates: Tensor) -> Tensor:
        """A feature map of the source where the coordinates say."""
        if self._bags(level):
            return warp_rows(feature, coordinates)
        feature = feature.expand(len(coordinates), -1, -1, -1)
        return F.grid_sample(feature, coordinates, self._warps[level], align_corners=False)

    def _styled(self, index: int, x: Tensor, style: Tensor, gain: Tensor) -> Tensor:
        """Styled convolution: style, gain and bias within the convolution for one latent at a size where the picture
        outweighs the weight, else shared weight: inputs times style, outputs times gain, bias. Then leaky ReLU."""
        weight, bias = self._weights[index], self._biases[index]
        style, gain = style.to(weight.dtype), gain.to(weight.dtype)
        if (quarter := self._quarters[index]) is not None:
            return F.leaky_relu_(quarter(x, style, gain, bias.flatten()), SLOPE)
        x = x.contiguous(memory_format=self._formats[index])
        if self._folds and x.shape[0] == 1 and x.shape[-1] >= DEEP_LEVEL:
            scale = style.T * gain if self._layers[index].conv.up else gain.T * style
            return F.leaky_relu_(self._convolved(index, x, weight * scale[:, :, None, None], bias.flatten()), SLOPE)
        x = self._convolved(index, x * style[:, :, None, None], weight)
        return F.leaky_relu_(x * gain[:, :, None, None] + bias, SLOPE)

    def _convolved(self, index: int, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if x.dtype == torch.float64:
            return up_sampled(x, weight) if self._layers[index].conv.up else convolved(x, weight)
        if not self._layers[index].conv.up:
            return F.conv2d(x, weight, bias, padding=1)
        x = F.conv_transpose2d(x, weight, stride=2)
        if self._one_kernel is not None:
            blurred = self._one_kernel(x, self._blurs[index][0, 0], 1)
            return blurred if bias is None else blurred + bias[:, None, None]
        return F.conv2d(x, self._blurs[index], bias, padding=1, groups=x.shape[1])

    def _head(self, level: int, x: Tensor, style: Tensor) -> Tensor:
        """What a level adds to flow and mask before tanh and sigmoid, (b, 3, R, R), float32."""
        head = self._flow_weights[level]
        weight = head * style[:, None, :].to(head.dtype)  # (b, 3, C)
        here = torch.einsum("boc,bchw->bohw", weight, x.to(head.dtype)).float()
        return here + self._flow_biases[level][:, None, None]

    def _colour(self, level: int, warped: Tensor, rgb: Tensor | None) -> Tensor:
        head = self._colour_heads[level]
        here = head.conv[1](warped) + head.bias
        return here if rgb is None else here + self._doubled(rgb)

    def _doubled(self, x: Tensor) -> Tensor:
        """Twice the size, smoothed, zeros beyond the border."""
        if self._folds:  # the same weights, 1/4 and 3/4 along each side; a transposed convolution is far slower there
            wider = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)
            return wider[:, :, 2:-2, 2:-2]
        return F.conv_transpose2d(x, self._up3, stride=2, padding=1, groups=3)


def _styled_layers(decoder: Decoder) -> list[StyledConv]:
    """conv1, then the layers of all levels."""
    return [decoder.conv1, *(layer for layer in decoder.convs if isinstance(layer, StyledConv))]
