"""A TFLite model as a plain list of operations and PyTorch-laid-out weights (developer tool).

Weights keep the precision of the source: where the model stores float16 with a DEQUANTIZE in front of the use, the
float16 values are taken and the operation disappears.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from dualenc_core.errors import CheckpointError

from .flatbuffer import Table

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}
_ACTIVATIONS = {0: None, 1: "relu", 3: "relu6"}
_PADDING = {0: "same", 1: "valid"}
_KINDS = {
    0: "add",
    1: "average_pool",
    2: "concat",
    3: "conv",
    4: "depthwise_conv",
    6: "dequantize",
    14: "sigmoid",
    17: "max_pool",
    18: "mul",
    19: "relu",
    21: "relu6",
    22: "reshape",
    23: "resize_bilinear",
    34: "pad",
    54: "prelu",
    117: "hard_swish",
}


@dataclass(frozen=True)
class TfliteModel:
    """``graph``: JSON-ready dict (inputs, outputs, ops), read by ``graph.Graph``; ``weights``: name → array."""

    graph: dict
    weights: dict[str, np.ndarray]


def read_tflite(data: bytes) -> TfliteModel:
    """Read a float TFLite model with one subgraph.

    Raises CheckpointError for anything that the three portrait models do not use (quantised tensors, other
    operations), naming it.
    """
    root = Table.root(data, b"TFL3")
    codes = root.tables(1)
    subgraph = root.tables(2)[0]
    buffers = [b.raw(0) for b in root.tables(4)]
    tensors = subgraph.tables(0)
    constants = {i: _constant(t, buffers) for i, t in enumerate(tensors) if buffers[t.scalar(2, "I")]}
    weights: dict[str, np.ndarray] = {}
    ops = []
    for index, operator in enumerate(subgraph.tables(3)):
        kind, attributes = _decode(codes[operator.scalar(0, "I")], operator)
        inputs, outputs = operator.numbers(1, "i"), operator.numbers(2, "i")
        if kind == "dequantize":
            constants[outputs[0]] = constants[inputs[0]]
            continue
        op = {"kind": kind, "inputs": [f"t{i}" for i in inputs if i not in constants], "output": f"t{outputs[0]}"}
        fixed = [constants[i] for i in inputs if i in constants]
        if kind in _LAYOUTS:
            names = [f"{index}.{kind}.{part}" for part in ("weight", "bias")][: len(fixed)]
            weights.update(zip(names, _LAYOUTS[kind](fixed), strict=True))
            op["weights"] = names
        elif kind == "pad":
            attributes["pad"] = fixed[0].tolist()
        elif kind == "resize_bilinear":
            attributes["size"] = fixed[0].tolist()
        elif kind == "reshape":
            attributes["shape"] = tensors[outputs[0]].numbers(0, "i")
        elif fixed:
            raise CheckpointError(f"operation {index} ({kind}) has a constant input, which is not supported")
        ops.append(op | {k: v for k, v in attributes.items() if v is not None})

    def describe(field: int) -> list[dict]:
        return [
            {"name": f"t{i}", "label": tensors[i].raw(3).decode(), "shape": tensors[i].numbers(0, "i")}
            for i in subgraph.numbers(field, "i")
        ]

    graph = {"inputs": describe(1), "outputs": describe(2), "ops": ops}
    return TfliteModel(graph=graph, weights={k: np.ascontiguousarray(v) for k, v in weights.items()})


def _constant(tensor: Table, buffers: list[bytes]) -> np.ndarray:
    code = tensor.scalar(1, "b")
    if code not in _DTYPES:
        raise CheckpointError(
            f"tensor {tensor.raw(3).decode()!r} has TFLite type {code}, expected a float or an integer"
        )
    return np.frombuffer(buffers[tensor.scalar(2, "I")], _DTYPES[code]).reshape(tensor.numbers(0, "i"))


def _decode(code: Table, operator: Table) -> tuple[str, dict]:
    builtin = max(code.scalar(0, "b"), code.scalar(3, "i"))
    if builtin == 32:
        name = code.raw(1).decode()
        if name != "Convolution2DTransposeBias":
            raise CheckpointError(f"custom operation {name!r} is not supported")
        # Raw struct of the MediaPipe kernel: TfLitePadding (1 = same, 2 = valid), stride width, stride height.
        padding, stride_w, stride_h = struct.unpack_from("<iii", operator.raw(5))
        return "transpose_conv", {"padding": {1: "same", 2: "valid"}[padding], "stride": [stride_h, stride_w]}
    if builtin not in _KINDS:
        raise CheckpointError(f"TFLite operation {builtin} is not supported")
    kind, options = _KINDS[builtin], operator.table(4)

    def activation(field: int) -> str | None:
        value = options.scalar(field, "b")
        if value not in _ACTIVATIONS:
            raise CheckpointError(f"fused activation {value} of {kind} is not supported")
        return _ACTIVATIONS[value]

    def window() -> dict:
        return {"padding": _PADDING[options.scalar(0, "b")], "stride": [options.scalar(2, "i"), options.scalar(1, "i")]}

    if kind == "conv":
        dilation = [options.scalar(5, "i", 1), options.scalar(4, "i", 1)]
        return kind, window() | {"dilation": dilation, "activation": activation(3)}
    if kind == "depthwise_conv":
        dilation = [options.scalar(6, "i", 1), options.scalar(5, "i", 1)]
        return kind, window() | {"dilation": dilation, "activation": activation(4)}
    if kind in ("max_pool", "average_pool"):
        return kind, window() | {
            "kernel": [options.scalar(4, "i"), options.scalar(3, "i")],
            "activation": activation(5),
        }
    if kind in ("add", "mul"):
        return kind, {"activation": activation(0)}
    if kind == "concat":
        return kind, {"axis": options.scalar(0, "i"), "activation": activation(1)}
    if kind == "resize_bilinear":
        return kind, {"align_corners": bool(options.scalar(2, "b")), "half_pixel": bool(options.scalar(3, "b"))}
    return kind, {}


# TFLite → PyTorch weight layouts: OHWI → OIHW, [1,H,W,C] → [C,1,H,W], OHWI → IOHW, [1,1,C] → [C].
_LAYOUTS = {
    "conv": lambda w: [w[0].transpose(0, 3, 1, 2), *w[1:]],
    "depthwise_conv": lambda w: [w[0].transpose(3, 0, 1, 2), *w[1:]],
    "transpose_conv": lambda w: [w[0].transpose(3, 0, 1, 2), *w[1:]],
    "prelu": lambda w: [w[0].reshape(-1)],
}
