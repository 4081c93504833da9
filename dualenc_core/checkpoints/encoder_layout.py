"""Names and shapes of the published encoder files, by rule (pSp, TriPlaneNet, ArcFace), without building a network."""

from __future__ import annotations

from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]

_GROUPS_50 = ((64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3))
_GROUPS_101 = ((64, 64, 3), (64, 128, 13), (128, 256, 30), (256, 512, 3))
_COARSE_END, _MIDDLE_END = 3, 7
PLANE_CHANNELS = 288
"""3 planes × 32 features × 3 slices of a released PanoHead."""


def batch_norm(prefix: str, width: int, affine: bool = True) -> Shapes:
    """The five entries of a batch norm (three without affine parameters)."""
    learned = {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)} if affine else {}
    return learned | {
        f"{prefix}.running_mean": (width,),
        f"{prefix}.running_var": (width,),
        f"{prefix}.num_batches_tracked": (),
    }


def trunk(channels: int, groups: Sequence[tuple[int, int, int]] = _GROUPS_50, squeeze: bool = True) -> Shapes:
    """Stem and residual trunk (IR-SE-50 by default).

    Args:
        channels: input channels of the stem.
        groups: (input width, output width, blocks) per group.
        squeeze: with squeeze-excitation.
    """
    shapes: Shapes = {"input_layer.0.weight": (64, channels, 3, 3)}
    shapes |= batch_norm("input_layer.1", 64) | {"input_layer.2.weight": (64,)}
    index = 0
    for first, width, blocks in groups:
        for block in range(blocks):
            inner, prefix = (first if block == 0 else width), f"body.{index}"
            if inner != width:
                shapes[f"{prefix}.shortcut_layer.0.weight"] = (width, inner, 1, 1)
                shapes |= batch_norm(f"{prefix}.shortcut_layer.1", width)
            shapes |= batch_norm(f"{prefix}.res_layer.0", inner)
            shapes[f"{prefix}.res_layer.1.weight"] = (width, inner, 3, 3)
            shapes[f"{prefix}.res_layer.2.weight"] = (width,)
            shapes[f"{prefix}.res_layer.3.weight"] = (width, width, 3, 3)
            shapes |= batch_norm(f"{prefix}.res_layer.4", width)
            if squeeze:
                shapes[f"{prefix}.res_layer.5.fc1.weight"] = (width // 16, width, 1, 1)
                shapes[f"{prefix}.res_layer.5.fc2.weight"] = (width, width // 16, 1, 1)
            index += 1
    return shapes


def stage_one(styles: int = 14) -> Shapes:
    """GradualStyleEncoder with ``styles`` heads (pSp)."""
    shapes = trunk(3)
    for head in range(styles):
        convolutions = 4 if head < _COARSE_END else 5 if head < _MIDDLE_END else 6
        for step in range(convolutions):
            shapes[f"styles.{head}.convs.{2 * step}.weight"] = (512, 512, 3, 3)
            shapes[f"styles.{head}.convs.{2 * step}.bias"] = (512,)
        shapes[f"styles.{head}.linear.weight"] = (512, 512)
        shapes[f"styles.{head}.linear.bias"] = (512,)
    for name, width in (("latlayer1", 256), ("latlayer2", 128)):
        shapes[f"{name}.weight"] = (512, width, 1, 1)
        shapes[f"{name}.bias"] = (512,)
    return shapes


def stage_two(planes: int = PLANE_CHANNELS, pixelshuffle: bool = False, version: int = 2) -> Shapes:
    """TriPlaneNet refinement network.

    Args:
        planes: plane channels: 96 for EG3D, 288 for PanoHead.
        pixelshuffle: the pixel-shuffle flavour instead of nearest (version 1 has only this one).
        version: 2, or 1, whose stem has six channels and whose head does not see the planes.
    """
    pixelshuffle = pixelshuffle or version == 1
    units = (
        ((1024, 512), (384, 384), (224, 256), (128, 96))
        if pixelshuffle
        else ((1024, 512), (768, 256), (384, 128), (192, 64))
    )
    shapes = trunk(6 if version == 1 else 9)
    for index, (inner, width) in enumerate(units, start=1):
        prefix = f"up{index}.conv.double_conv"
        shapes |= batch_norm(f"{prefix}.0", inner)
        shapes |= {f"{prefix}.1.weight": (width, inner, 3, 3), f"{prefix}.1.bias": (width,)}
        shapes |= {f"{prefix}.2.weight": (width,)}
        shapes |= {f"{prefix}.3.weight": (width, width, 3, 3), f"{prefix}.3.bias": (width,)}
        shapes |= {f"{prefix}.4.weight": (width,), f"{prefix}.5.weight": (width,)}
    head = "final_head" if version == 1 else "final_head_two"
    features = (24 if pixelshuffle else 64) + (0 if version == 1 else planes)
    shapes |= {f"{head}.0.weight": (planes, features, 3, 3), f"{head}.0.bias": (planes,), f"{head}.1.weight": (planes,)}
    shapes |= {f"{head}.2.weight": (planes, planes, 3, 3), f"{head}.2.bias": (planes,), f"{head}.3.weight": (planes,)}
    return shapes | {f"{head}.4.weight": (planes, planes, 1, 1), f"{head}.4.bias": (planes,)}


def arcface() -> Shapes:
    """``model_ir_se50.pth``: IR-SE-50 with the 112-pixel embedding head."""
    return trunk(3) | _embedding(affine=True)


def curricularface() -> Shapes:
    """``CurricularFace_Backbone.pth``: IR-101 without squeeze-excitation, embedding norm without affine parameters."""
    return trunk(3, _GROUPS_101, squeeze=False) | _embedding(affine=False)


def _embedding(affine: bool) -> Shapes:
    head = batch_norm("output_layer.0", 512)
    head |= {"output_layer.3.weight": (512, 512 * 7 * 7), "output_layer.3.bias": (512,)}
    return head | batch_norm("output_layer.4", 512, affine)


def lpips_alexnet() -> Shapes:
    """The convolutions of torchvision's AlexNet, which is all that LPIPS needs of it."""
    sizes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    weights: Shapes = {f"features.{index}.weight": shape for index, shape in sizes.items()}
    return weights | {f"features.{index}.bias": (shape[0],) for index, shape in sizes.items()}
