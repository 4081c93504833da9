"""What a full-size frame costs on this machine: ``python -m dualenc_core.generator.measure`` (random weights)."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from ..camera import Camera
from ..rendering.rays import camera_rays
from .panohead import PanoHead
from .superresolution import resize

Result = TypeVar("Result")


def main() -> None:
    """Print seconds of every stage of the released configuration and the process's peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int, default=64, help="rays along each side")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    device = torch.device(args.device)

    def timed(name: str, function: Callable[[], Result], repeat: int = 2) -> Result:
        # The first call includes what a process does once (choosing kernels), so the last one counts.
        for _ in range(repeat):
            start = time.perf_counter()
            result = function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start
        print(f"{name:<28} {seconds:8.3f} s")
        return result

    generator = timed("build", lambda: PanoHead().eval().requires_grad_(False), repeat=1).to(device)
    print(f"{'parameters':<28} {sum(p.numel() for p in generator.parameters()):8d}")
    camera = Camera.look_at().to(device)
    z = torch.randn(1, generator.config.z_dim, device=device)
    with torch.no_grad():
        ws = timed("mapping", lambda: generator.mapping(z))
        triplane = timed("backbone", lambda: generator.synthesize(ws))
        scene = timed("background", lambda: generator.background_features(ws))
        origins, directions = camera_rays(camera, args.resolution)
        rays = timed(f"rays {args.resolution}²", lambda: generator.render_rays(triplane, origins, directions))
        features = rays.features.transpose(1, 2).reshape(1, -1, args.resolution, args.resolution)
        features = features + resize(scene, args.resolution)
        raw = generator.to_rgb(features, ws)
        timed("super-resolution", lambda: generator.superresolution(raw, features, ws))
        timed(
            "whole frame from ws",
            lambda: generator.render(generator.synthesize(ws), camera, args.resolution, quality="reference"),
        )
    # Linux counts kilobytes, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(f"{'peak memory of the process':<28} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:8.0f} MB")


if __name__ == "__main__":
    main()
