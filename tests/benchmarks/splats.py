"""How well splats show the heads that they were made of: ``python -m tests.benchmarks.splats``.

Of each head 60 views that gave no colours, over grey: mean and worst PSNR against the head's own pictures; holes, the
share of pixels that the head covers and the splats do not; halo, the share of pixels that the splats cover and the head
does not; seconds of processor time and of the clock, megabytes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.export.splat_bake import bake_splats
from dualenc_core.export.splat_file import save_splats
from dualenc_core.export.splat_raster import render_splats
from dualenc_core.export.splats import Splats
from dualenc_core.generator import PanoHead
from dualenc_core.generator.loading import load_generator
from dualenc_core.triplane import Triplane

GREY = 0.5


@dataclass(frozen=True)
class Likeness:
    """PSNR in dB of N views [N]; holes and halo, shares of the pixels that the head covers or does not, in 0..1."""

    psnr: tuple[float, ...]
    holes: float
    halo: float


def held_out_cameras(count: int = 60) -> Camera:
    """Three rings between the views that colours come from: level, from 18 degrees above and 12 below."""
    rings = [count - 2 * (count // 3), count // 3, count // 3]
    pitches = (0.0, 18.0, -12.0)
    return Camera.cat([Camera.orbit(n, 5.0, 365.0, pitch) for n, pitch in zip(rings, pitches, strict=True) if n])


@torch.no_grad()
def likeness(
    generator: PanoHead, triplane: Triplane, splats: Splats, camera: Camera, side: int | None = None
) -> Likeness:
    """Compare pictures of splats with the head's own.

    Args:
        side: of the pictures; None = the generator's. Without super-resolution give its ray resolution.
    """
    full = generator.config.image_resolution
    side = side or full
    psnr, holes, halo, covered, empty = [], 0, 0, 0, 0
    options = {"background": (GREY,) * 3, "quality": "exact", "super_resolve": side == full}
    options["resolution"] = None if side == full else side
    for i in range(len(camera)):
        truth = generator.render(triplane, camera[i], **options)
        picture, alpha = render_splats(splats, camera[i], side, GREY)
        error = (picture.clamp(0, 1) - ((truth.image + 1) / 2).clamp(0, 1).cpu()).square().mean()
        psnr.append(float(-10 * error.clamp(min=1e-10).log10()))
        cover = F.interpolate(truth.alpha.cpu(), (side, side), mode="bilinear", align_corners=False)
        holes += int(((cover > 0.98) & (alpha < 0.9)).sum())
        halo += int(((cover < 0.02) & (alpha > 0.1)).sum())
        covered, empty = covered + int((cover > 0.98).sum()), empty + int((cover < 0.02).sum())
    return Likeness(tuple(psnr), holes / max(covered, 1), halo / max(empty, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="demo", help="demo, or a file")
    parser.add_argument("--heads", type=int, default=2, help="default: 2")
    parser.add_argument("--views", type=int, default=60, help="default: 60")
    parser.add_argument("--count", type=int, default=150_000, help="most splats (default: 150000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    try:
        generator = load_generator(args.generator)
        print(
            "| head | splats | PSNR | worst | holes | halo | CPU s | clock s | .ply MB | .spz MB |\n"
            + "|---" * 10
            + "|"
        )
        z = torch.randn(args.heads, generator.config.z_dim, generator=torch.Generator().manual_seed(args.seed))
        for i in range(args.heads):
            with torch.no_grad():
                triplane = generator.synthesize(generator.mapping(z[i : i + 1], truncation_psi=0.7))
            print(_row(generator, triplane, i, args.count, held_out_cameras(args.views)), flush=True)
    except DualEncError as error:
        raise SystemExit(f"error: {error}") from None


def _row(generator: PanoHead, triplane: Triplane, index: int, count: int, camera: Camera) -> str:
    start, worked = time.perf_counter(), time.process_time()
    splats = bake_splats(generator, triplane, count)
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    with tempfile.TemporaryDirectory() as folder:
        sizes = [save_splats(splats, Path(folder, f"head.{kind}")).stat().st_size / 1e6 for kind in ("ply", "spz")]
    found = likeness(generator, triplane, splats, camera)
    mean, worst = sum(found.psnr) / len(found.psnr), min(found.psnr)
    cells = [str(index), f"{len(splats)}", f"{mean:.1f}", f"{worst:.1f}", f"{found.holes:.3%}", f"{found.halo:.3%}"]
    cells += [f"{worked:.1f}", f"{seconds:.1f}", *(f"{size:.1f}" for size in sizes)]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
