"""Reconstruct a portrait of a synthetic person and a photo of a real one, with the bundled weights.

Writes OUT/portrait and OUT/astronaut with everything that `reconstruct` writes, and OUT/overview.png with both. The
portrait is of nobody, drawn from assets that training never saw; the photo is the public-domain portrait of an
astronaut that comes with scikit-image. A generator of procedural heads (--generator) gets one of them as its portrait,
whose every view is known and compared with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .options import add_device, add_encoders, add_generator, add_out, add_views, pick_device

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .pipeline import Subject

EXAMPLES = """  python -m dualenc_core demo
  python -m dualenc_core demo --out out/cells --stitch cells --frames 120
"""

PORTRAIT = Path(__file__).resolve().parents[2] / "workflows" / "dualenc_portrait.png"
# Of the procedural one.
PORTRAIT_SEED = 1_000_003
PORTRAIT_YAW, PORTRAIT_PITCH = 25.0, 4.0
PORTRAIT_SIZE = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser, "out/demo")
    add_generator(parser)
    add_encoders(parser)
    add_views(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from ..export import contact_sheet, save_png
    from ..procedural import LATENT_DIM
    from .feedback import Stopwatch
    from .folder import output_folder
    from .models import load_models
    from .pipeline import VIEW_LABELS, ViewOptions, reconstruct, stale_results
    from .reconstruct import summary, without_background

    device = pick_device(args.device)
    models = load_models(args.generator, args.encoder1, args.encoder2, device)
    options = ViewOptions.of(args)
    subjects = {"portrait": lambda: without_background(bundled_portrait(device), models.generator)}
    if models.generator.config.z_dim == LATENT_DIM:
        subjects["portrait"] = procedural_portrait
    if (photo := astronaut_pixels()) is not None:
        subjects["astronaut"] = lambda: without_background(_astronaut(photo, device), models.generator)
    else:
        print("the astronaut photo is skipped: scikit-image is not installed (pip install scikit-image)")
    rows = []
    for name, prepare in subjects.items():
        print(f"{name}:")
        clock = Stopwatch()
        with output_folder(args.out / name, stale_results(args.out / name)) as folder:
            with clock("prepare"):
                subject = prepare()
            outcome = reconstruct(models, subject, options, folder, clock)
        rows.append([outcome.photo[0], *outcome.views])
        print(summary(args.out / name, subject, outcome.report))
    overview = contact_sheet(rows, list(subjects), ("photo", *VIEW_LABELS), min(outcome.photo.shape[-1], 224))
    save_png(overview, args.out / "overview.png")
    print(f"look at {args.out / 'overview.png'}")


def procedural_portrait() -> Subject:
    """A procedural head of a seed that no training saw; camera, matte and every other view are known exactly."""
    from .. import procedural
    from ..camera import Camera
    from .feedback import progress_bar
    from .pipeline import Subject

    heads = procedural.sample_heads(1, PORTRAIT_SEED)
    camera = Camera.look_at(PORTRAIT_YAW, PORTRAIT_PITCH)
    with progress_bar("drawing the portrait") as progress:
        picture = procedural.render(heads, camera, PORTRAIT_SIZE, progress=progress)
    return Subject(
        picture.image,
        camera,
        picture.alpha,
        source={"procedural_seed": PORTRAIT_SEED},
        alignment={"method": "given"},
        truth=lambda cameras, size: procedural.render(heads, cameras, size).image,
    )


def bundled_portrait(device: torch.device) -> Subject:
    """The example portrait of the workflows: a synthetic person that no training saw, aligned like any photo."""
    from ..errors import DualEncError
    from .reconstruct import aligned, describe_file

    if not PORTRAIT.is_file():
        raise DualEncError(f"the example portrait {PORTRAIT} is missing; restore it from the repository")
    return aligned(PORTRAIT, describe_file(PORTRAIT), None, device)


def astronaut_pixels() -> np.ndarray | None:
    """scikit-image's public-domain portrait [512,512,3] uint8; None without the package."""
    try:
        from skimage import data
    except ImportError:
        return None
    return data.astronaut()


def _astronaut(pixels: np.ndarray, device: torch.device) -> Subject:
    from .reconstruct import aligned

    return aligned(pixels, {"file": "skimage.data.astronaut"}, None, device)
