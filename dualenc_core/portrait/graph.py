"""Runs a converted TFLite graph in PyTorch with TFLite's semantics.

Tensors of rank 4 travel as NCHW; RESHAPE sees them as NHWC, as the source does. Weights may be stored as float16 and
are computed in float32, as the DEQUANTIZE operations of the source say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from ..devices import in_full_float32
from ..errors import CheckpointError


class Graph(nn.Module):
    """A static graph: ``forward(images)`` → one tensor per output.

    Args:
        graph: dict with ``inputs``, ``outputs`` and ``ops`` as written by ``convert_tflite``.
        weights: name → tensor, PyTorch layouts.

    Input: [N,C,H,W] with the spatial size of ``input_size``. Outputs: [N,C,H,W] for rank 4, else [N,...] in the
    source's order.
    """

    def __init__(self, graph: dict, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.input_name = graph["inputs"][0]["name"]
        _, height, width, channels = graph["inputs"][0]["shape"]
        self.input_shape = (channels, height, width)
        self.output_names = [o["name"] for o in graph["outputs"]]
        self.ops = graph["ops"]
        unknown = sorted({op["kind"] for op in self.ops} - set(_KERNELS))
        if unknown:
            raise CheckpointError(f"the graph has operations that this version does not know: {', '.join(unknown)}")
        for name, tensor in weights.items():
            self.register_buffer(_attribute(name), tensor.float())
        last = {name: i for i, op in enumerate(self.ops) for name in op["inputs"]}
        self._drop = [
            [n for n, at in last.items() if at == i and n not in self.output_names] for i in range(len(self.ops))
        ]

    @classmethod
    def load(cls, path: str | Path) -> Graph:
        """From a safetensors file with the graph as JSON in its metadata. Raises CheckpointError."""
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(
                f"portrait weights {path} are missing; they are part of the repository (weights/portrait): restore the "
                "file, or point DUALENC_WEIGHTS to the folder that contains portrait/"
            )
        try:
            with safe_open(path, "pt") as file:
                graph = json.loads(file.metadata()["portrait"])["graph"]
                weights = {name: file.get_tensor(name) for name in file.keys()}
        except Exception as error:
            raise CheckpointError(
                f"portrait weights {path} cannot be read ({error}); restore the original file"
            ) from error
        return cls(graph, weights).eval().requires_grad_(False)

    @in_full_float32
    def forward(self, images: Tensor) -> list[Tensor]:
        if images.ndim != 4 or tuple(images.shape[1:]) != self.input_shape:
            raise ValueError(
                f"images have shape {tuple(images.shape)}, expected [N,{','.join(map(str, self.input_shape))}]"
            )
        values = {self.input_name: images}
        for op, drop in zip(self.ops, self._drop, strict=True):
            weights = [getattr(self, _attribute(name)) for name in op.get("weights", ())]
            result = _KERNELS[op["kind"]](op, [values[name] for name in op["inputs"]], weights)
            values[op["output"]] = _ACTIVATE[op.get("activation")](result)
            for name in drop:
                del values[name]
        return [values[name] for name in self.output_names]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis as (before, after): the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _pad_same(op: dict, x: Tensor, kernel: tuple[int, int], value: float = 0.0) -> Tensor:
    if op["padding"] == "valid":
        return x
    dilation = op.get("dilation", [1, 1])
    vertical, horizontal = (same_padding(x.shape[2 + i], kernel[i], op["stride"][i], dilation[i]) for i in (0, 1))
    pad = (*horizontal, *vertical)
    return F.pad(x, pad, value=value) if any(pad) else x


def _conv(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    weight, bias = weights[0], weights[1] if len(weights) > 1 else None
    x = _pad_same(op, inputs[0], (weight.shape[2], weight.shape[3]))
    groups = x.shape[1] if op["kind"] == "depthwise_conv" else 1
    return F.conv2d(x, weight, bias, stride=op["stride"], dilation=op["dilation"], groups=groups)


def _transpose_conv(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    weight, bias = weights[0], weights[1] if len(weights) > 1 else None
    x = inputs[0]
    y = F.conv_transpose2d(x, weight, bias, stride=op["stride"])
    if op["padding"] == "valid":
        return y
    # SAME: the result is stride × input; the surplus is what the forward convolution would have padded.
    size = [s * n for s, n in zip(op["stride"], x.shape[2:], strict=True)]
    top, left = (same_padding(size[i], weight.shape[2 + i], op["stride"][i])[0] for i in (0, 1))
    return y[:, :, top : top + size[0], left : left + size[1]]


def _max_pool(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    return F.max_pool2d(_pad_same(op, inputs[0], op["kernel"], float("-inf")), op["kernel"], op["stride"])


def _average_pool(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    x = inputs[0]
    # TFLite leaves padded pixels out of the mean.
    ones = _pad_same(op, torch.ones_like(x[:1, :1]), op["kernel"])
    total = F.avg_pool2d(_pad_same(op, x, op["kernel"]), op["kernel"], op["stride"])
    return total / F.avg_pool2d(ones, op["kernel"], op["stride"])


def _pad(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    _, vertical, horizontal, channels = op["pad"]
    return F.pad(inputs[0], (*horizontal, *vertical, *channels))


def _reshape(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    x = inputs[0].permute(0, 2, 3, 1) if inputs[0].ndim == 4 else inputs[0]
    y = x.reshape(len(x), *op["shape"][1:])
    return y.permute(0, 3, 1, 2) if y.ndim == 4 else y


def _concat(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    axis = op["axis"] % inputs[0].ndim
    return torch.cat(inputs, (0, 2, 3, 1)[axis] if inputs[0].ndim == 4 else axis)


def _resize_bilinear(op: dict, inputs: list[Tensor], weights: list[Tensor]) -> Tensor:
    x = inputs[0]
    if op["align_corners"] or op["half_pixel"]:
        return F.interpolate(x, size=tuple(op["size"]), mode="bilinear", align_corners=op["align_corners"])
    # TFLite's legacy mode samples at i·in/out, which PyTorch has no flag for.
    for axis, size in zip((2, 3), op["size"], strict=True):
        position = torch.arange(size, device=x.device, dtype=x.dtype) * (x.shape[axis] / size)
        low = position.floor().long()
        weight = (position - low).view([-1, 1] if axis == 2 else [-1])
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)
    return x


_KERNELS: dict[str, Callable[[dict, list[Tensor], list[Tensor]], Tensor]] = {
    "conv": _conv,
    "depthwise_conv": _conv,
    "transpose_conv": _transpose_conv,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "pad": _pad,
    "reshape": _reshape,
    "concat": _concat,
    "resize_bilinear": _resize_bilinear,
    "add": lambda op, inputs, weights: inputs[0] + inputs[1],
    "mul": lambda op, inputs, weights: inputs[0] * inputs[1],
    "prelu": lambda op, inputs, weights: F.prelu(inputs[0], weights[0]),
    "relu": lambda op, inputs, weights: F.relu(inputs[0]),
    "relu6": lambda op, inputs, weights: F.relu6(inputs[0]),
    "hard_swish": lambda op, inputs, weights: F.hardswish(inputs[0]),
    "sigmoid": lambda op, inputs, weights: torch.sigmoid(inputs[0]),
}

_ACTIVATE: dict[str | None, Callable[[Tensor], Tensor]] = {None: lambda x: x, "relu": F.relu, "relu6": F.relu6}


def _attribute(name: str) -> str:
    return "w_" + name.replace(".", "_")
