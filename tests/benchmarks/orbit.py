"""README's orbit, as it is drawn by default and by the plain renderer: seconds of one core, other programs' left out.

python -m tests.benchmarks.orbit --frames 60
"""

from __future__ import annotations

import argparse
import time

import torch

import dualenc_core as dc
from dualenc_core.commands.options import add_generator, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=whole(1), default=8, help="of the orbit (default: 8)")
    add_generator(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    generator = dc.load_generator(args.generator)
    heads = generator.synthesize(generator.mapping(generator.latents(seed=1, count=2)))
    # Stitched by points, as the head of an inversion.
    head = dc.stitch(heads[0], heads[1], dc.visibility(generator, heads[0], dc.Camera.look_at()))
    orbit = dc.Camera.orbit(args.frames)
    seconds = {}
    for name, options in (("default", {}), ("plain", {"quality": "reference"})):
        generator.release_prepared()
        start = time.process_time()
        generator.render(head, orbit, **options)
        seconds[name] = time.process_time() - start
        print(f"{name}: {seconds[name]:.2f} s, {seconds[name] / args.frames:.3f} s a frame", flush=True)
    print(f"{args.frames} frames: {seconds['plain'] / seconds['default']:.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()
