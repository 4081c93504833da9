"""A Stable Diffusion 1.5 and a ControlNet of random weights, as small as ComfyUI's loaders take them.

    python -m tests.comfyui.tiny_diffusion COMFYUI/models

ComfyUI knows SD 1.5 by a width of 320 and a context of 768 and takes all else from the file: here one level of one
block. The VAE is the small one (TAESD) in the place of the large. The text encoder has to be whole, as ComfyUI leaves
what a file lacks uninitialised; its layers are zeros, so that a token's embedding comes out as it went in, normed. What
it all draws is noise, but every weight and every input counts.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

WIDTH, CONTEXT, EMBEDDING = 320, 768, 1280
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CONTROLNET = "control_v11f1p_sd15_depth_fp16.safetensors"
TOKENS, LENGTH, LAYERS = 49408, 77, 12

# The control image goes through eight SiLU, each of which halves what is small, and must not be lost beside the rest.
GAINS = {"input_hint_block": 2.0, "zero_convs": 4.0, "middle_block_out": 4.0}

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, inputs: int, outputs: int, kernel: int = 3, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel)} | ({f"{name}.bias": (outputs,)} if bias else {})


def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def residual(name: str, inputs: int) -> Shapes:
    """A ResBlock that ends WIDTH wide."""
    shapes = norm(f"{name}.in_layers.0", inputs) | conv(f"{name}.in_layers.2", inputs, WIDTH)
    shapes |= linear(f"{name}.emb_layers.1", EMBEDDING, WIDTH)
    shapes |= norm(f"{name}.out_layers.0", WIDTH) | conv(f"{name}.out_layers.3", WIDTH, WIDTH)
    return shapes | (conv(f"{name}.skip_connection", inputs, WIDTH, 1) if inputs != WIDTH else {})


def attention(name: str) -> Shapes:
    """A SpatialTransformer of one block."""
    shapes = norm(f"{name}.norm", WIDTH) | conv(f"{name}.proj_in", WIDTH, WIDTH, 1)
    shapes |= conv(f"{name}.proj_out", WIDTH, WIDTH, 1)
    block = f"{name}.transformer_blocks.0"
    for part, context in (("attn1", WIDTH), ("attn2", CONTEXT)):
        shapes |= linear(f"{block}.{part}.to_q", WIDTH, WIDTH, bias=False)
        shapes |= linear(f"{block}.{part}.to_k", context, WIDTH, bias=False)
        shapes |= linear(f"{block}.{part}.to_v", context, WIDTH, bias=False)
        shapes |= linear(f"{block}.{part}.to_out.0", WIDTH, WIDTH)
    for i in (1, 2, 3):
        shapes |= norm(f"{block}.norm{i}", WIDTH)
    return shapes | linear(f"{block}.ff.net.0.proj", WIDTH, 8 * WIDTH) | linear(f"{block}.ff.net.2", 4 * WIDTH, WIDTH)


def half_unet(name: str) -> Shapes:
    """What a UNet and a ControlNet share: time, the way down, the middle."""
    shapes = linear(f"{name}time_embed.0", WIDTH, EMBEDDING) | linear(f"{name}time_embed.2", EMBEDDING, EMBEDDING)
    shapes |= conv(f"{name}input_blocks.0.0", 4, WIDTH)
    shapes |= residual(f"{name}input_blocks.1.0", WIDTH) | attention(f"{name}input_blocks.1.1")
    return shapes | residual(f"{name}middle_block.0", WIDTH)


def unet(name: str) -> Shapes:
    shapes = half_unet(name)
    for i in range(2):
        shapes |= residual(f"{name}output_blocks.{i}.0", 2 * WIDTH)
    return shapes | norm(f"{name}out.0", WIDTH) | conv(f"{name}out.2", WIDTH, 4)


def controlnet(name: str) -> Shapes:
    shapes = half_unet(name)
    for i in range(2):
        shapes |= conv(f"{name}zero_convs.{i}.0", WIDTH, WIDTH, 1)
    shapes |= conv(f"{name}middle_block_out.0", WIDTH, WIDTH, 1)
    widths = (3, 16, 16, 32, 32, 96, 96, 256, WIDTH)
    for i in range(8):
        shapes |= conv(f"{name}input_hint_block.{2 * i}", widths[i], widths[i + 1])
    return shapes


def vae(name: str) -> Shapes:
    """TAESD: layers by their place in its two sequences."""

    def block(at: str) -> Shapes:
        return {k: v for i in (0, 2, 4) for k, v in conv(f"{at}.conv.{i}", 64, 64).items()}

    encoder, decoder = f"{name}taesd_encoder.", f"{name}taesd_decoder."
    shapes = conv(f"{encoder}0", 3, 64) | conv(f"{encoder}14", 64, 4)
    for i in (2, 6, 10):
        shapes |= conv(f"{encoder}{i}", 64, 64, bias=False)
    for i in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        shapes |= block(f"{encoder}{i}")
    shapes |= conv(f"{decoder}1", 4, 64) | conv(f"{decoder}19", 64, 3)
    for i in (7, 12, 17):
        shapes |= conv(f"{decoder}{i}", 64, 64, bias=False)
    for i in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        shapes |= block(f"{decoder}{i}")
    return shapes


def text_ends(name: str) -> Shapes:
    shapes = {f"{name}embeddings.token_embedding.weight": (TOKENS, CONTEXT)}
    return shapes | norm(f"{name}final_layer_norm", CONTEXT)


def text_layers(name: str) -> Shapes:
    shapes: Shapes = {f"{name}embeddings.position_embedding.weight": (LENGTH, CONTEXT)}
    for i in range(LAYERS):
        layer = f"{name}encoder.layers.{i}"
        shapes |= norm(f"{layer}.layer_norm1", CONTEXT) | norm(f"{layer}.layer_norm2", CONTEXT)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", CONTEXT, CONTEXT)
        shapes |= linear(f"{layer}.mlp.fc1", CONTEXT, 4 * CONTEXT) | linear(f"{layer}.mlp.fc2", 4 * CONTEXT, CONTEXT)
    return shapes


def random_weights(shapes: Shapes, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Weights that keep about the size of a signal; norms of 1, biases of 0."""
    draws = torch.Generator().manual_seed(seed)
    for name, shape in shapes.items():
        if len(shape) > 1:
            gain = next((value for part, value in GAINS.items() if part in name), 1.0)
            weight = torch.randn(shape, generator=draws) * gain / math.sqrt(math.prod(shape[1:]))
        else:
            weight = torch.full(shape, float(name.endswith(".weight")))
        yield name, weight.half()


def write(path: Path, shapes: Shapes, zeros: Shapes, seed: int) -> None:
    """A safetensors file in half precision: random weights, then zeros, which take no room on the disk."""
    lengths = {name: 2 * math.prod(shape) for name, shape in (shapes | zeros).items()}
    header, start = {}, 0
    for name, shape in (shapes | zeros).items():
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, start + lengths[name]]}
        start += lengths[name]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, weight in random_weights(shapes, seed):
            file.write(weight.numpy().tobytes())
        file.truncate(8 + len(text) + start)


def write_models(models: Path) -> None:
    """The two files of workflow 05 in a models folder."""
    text = "cond_stage_model.transformer.text_model."
    shapes = unet("model.diffusion_model.") | vae("first_stage_model.") | text_ends(text)
    write(models / "checkpoints" / CHECKPOINT, shapes, text_layers(text), 1)
    write(models / "controlnet" / CONTROLNET, controlnet(""), {}, 2)


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
