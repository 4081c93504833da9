"""How close two pictures are."""

from __future__ import annotations

import math

import torch.nn.functional as F

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import images
from .inputs import socket, switch
from .models import locate_known


class DualEncCompare:
    """Two pictures → numbers."""

    CATEGORY = "DualEnc/evaluate"
    DESCRIPTION = (
        "Measures how close two pictures are: L2, PSNR and SSIM, and with their weights also LPIPS and identity. A "
        "picture of another size is resized to the first."
    )
    SEARCH_ALIASES = [
        "compare faces",
        "face similarity",
        "psnr",
        "ssim",
        "lpips",
        "metric",
        "difference",
        "identity similarity",
    ]
    RETURN_TYPES = ("FLOAT", "FLOAT", "FLOAT", "FLOAT", "FLOAT", "STRING")
    RETURN_NAMES = ("l2", "psnr", "ssim", "lpips", "identity", "report")
    OUTPUT_TOOLTIPS = (
        "Mean squared difference on -1..1; 0 = equal.",
        "Peak signal-to-noise ratio in dB; higher is closer.",
        "Structural similarity; 1 = equal.",
        "LPIPS distance; 0 = equal. Not a number unless perceptual is on.",
        "Cosine of the ArcFace vectors; 1 = the same person. Not a number unless perceptual is on.",
        "All of them as text, a line for each picture and the mean.",
    )
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": socket("IMAGE", "Pictures to judge."),
                "reference": socket("IMAGE", "What they should look like: as many, or one for all."),
                "perceptual": switch(
                    False, "Also LPIPS and identity; they need weights files (the message says which).", advanced=True
                ),
            }
        }

    def run(self, image, reference, perceptual):
        picture, truth = images.to_core(image), images.to_core(reference)
        if len(truth) not in (1, len(picture)):
            raise DualEncError(f"there are {len(truth)} references for {len(picture)} images; expected as many, or one")
        if truth.shape[-2:] != picture.shape[-2:]:
            truth = F.interpolate(truth, picture.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
        truth = truth.expand_as(picture)
        metrics = dc.metrics
        columns = {
            "l2": metrics.mse(picture, truth).tolist(),
            "psnr": metrics.psnr(picture, truth).tolist(),
            "ssim": metrics.ssim(picture, truth).tolist(),
        }
        if perceptual:
            columns |= _perceptual(picture, truth)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        mean = {name: sum(values) / len(values) for name, values in columns.items()}
        lines = [_line(f"image {i}", row) for i, row in enumerate(rows, start=1)] if len(rows) > 1 else []
        report = "\n".join([*lines, _line("mean" if lines else "image", mean)])
        numbers = tuple(mean.get(name, math.nan) for name in ("l2", "psnr", "ssim", "lpips", "identity"))
        return {"ui": {"text": [report], "metrics": rows}, "result": (*numbers, report)}


def _perceptual(picture, truth):
    from ..dualenc_core.encoders.loading import load_arcface
    from ..dualenc_core.metrics.lpips import LPIPS

    lpips = LPIPS.from_files(locate_known("lpips-alexnet"))
    arcface = load_arcface(locate_known("arcface"))
    rows: dict[str, list[float]] = {"lpips": [], "identity": []}
    for a, b in zip(picture.split(1), truth.split(1), strict=True):
        rows["lpips"].append(float(lpips(a, b)))
        square = [F.interpolate(x, (256, 256), mode="bilinear", antialias=True, align_corners=False) for x in (a, b)]
        rows["identity"].append(float((arcface.identity(square[0]) * arcface.identity(square[1])).sum()))
    return rows


def _line(name, row):
    return f"{name}: " + ", ".join(f"{key.upper()} {value:.4g}" for key, value in row.items())
