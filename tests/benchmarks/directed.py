"""What sliders and animations of heads cost: seconds of one core, other programs' left out; and how still they are.

python -m tests.benchmarks.directed --frames 96
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import dualenc_core as dc
from dualenc_core.commands.options import add_generator, whole
from dualenc_core.editing import Director, directions_of
from dualenc_core.editing.animation import Animation, Key, animate
from dualenc_core.generator.prepared import FEW_DRAFTS

# Rays along a side of a picture of 256².
_RAYS = 64
_CHANGES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=whole(2), default=24, help="of the animation (default: 24)")
    parser.add_argument("--rays", type=whole(8), default=_RAYS, help="of its frames, along a side (default: 64)")
    add_generator(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    generator = dc.load_generator(args.generator)
    heads = generator.synthesize(generator.mapping(generator.latents(seed=1, count=2)))
    # Stitched by points, as the head of an inversion.
    head = dc.stitch(heads[0], heads[1], dc.visibility(generator, heads[0], dc.Camera.look_at()))
    with torch.no_grad():
        for name, quality in (("draft", "draft"), ("few drafts, as nodes draw", FEW_DRAFTS)):
            print(
                f"a slider's change to a picture of 256², {name}: {slider(generator, head, quality):.3f} s", flush=True
            )
        frames, alphas, seconds = animation(generator, head, args.frames, args.rays)
    print(f"{args.frames} frames of {4 * args.rays}² of a head that smiles and ages: {seconds:.1f} s", flush=True)
    for name, value in flicker(frames, alphas).items():
        print(f"neighbouring frames, mean difference, {name}: {value:.3f} of 255", flush=True)


def slider(generator: dc.PanoHead, head: dc.Triplane, quality: str) -> float:
    """Seconds from a change of values to the picture, median."""
    director, camera = Director(generator, head, directions_of(generator)), dc.Camera.look_at(20)
    director({"smile": 0.01})

    def change(value: float) -> None:
        generator.render(director({"smile": value}), camera, resolution=_RAYS, quality=quality)

    return sorted(seconds_of(lambda i=i: change(0.1 * (i + 1))) for i in range(_CHANGES))[_CHANGES // 2]


def animation(generator: dc.PanoHead, head: dc.Triplane, count: int, rays: int) -> tuple[Tensor, Tensor, float]:
    """Frames [F,3,S,S] and alphas [F,1,s,s] of a head that smiles and ages before a still camera, and seconds."""
    last = (count - 1) / 24
    tracks = {"smile": (Key(0, 0.0), Key(last, 0.8)), "age": (Key(0, 0.0), Key(last, 20.0))}
    made = Animation(count / 24, 24, tracks)
    quality = made.quality("draft", generator, rays)
    start = time.process_time()
    views = [
        generator.render(edited, camera, resolution=rays, quality=quality)
        for edited, camera in animate(generator, head, made)
    ]
    seconds = time.process_time() - start
    return torch.cat([v.image for v in views]), torch.cat([v.alpha for v in views]), seconds


def flicker(frames: Tensor, alphas: Tensor) -> dict[str, float]:
    """Mean difference of neighbouring frames, 0..255, where nothing should move; the face beside it."""
    cover = F.interpolate(alphas, frames.shape[-2:], mode="bilinear", align_corners=False)
    size, never, always = frames.shape[-1], cover.amax(0)[0] < 0.01, cover.amin(0)[0] > 0.99
    row = torch.arange(size)[:, None].expand(size, size)
    column = row.T
    low, middle = row > 0.88 * size, (row - 0.5 * size).abs() < 0.2 * size
    places = {
        "background": never,
        "shoulders": always & low,
        "face": always & middle & ((column - 0.5 * size).abs() < 0.15 * size),
    }
    change = (frames[1:] - frames[:-1]).abs().mean((0, 1)) * 127.5
    return {name: float(change[place].mean()) for name, place in places.items()}


def seconds_of(run: Callable[[], object]) -> float:
    """Of this process."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
