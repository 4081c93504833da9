"""Invent heads: draw latents, write each head as a tri-grid file and a contact sheet of 8 yaws.

Head number i depends on seed + i only, so a head can be made again alone.
"""

from __future__ import annotations

import argparse

from .options import add_device, add_generator, add_out, add_quality, add_resolution, pick_device, whole

EXAMPLES = """  python -m dualenc_core sample --out out/heads --count 4
  python -m dualenc_core sample --out out/heads --seed 17 --psi 0.5 --generator weights/panohead.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser)
    add_generator(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the first head (default: 0)")
    parser.add_argument("--count", type=whole(1), default=4, help="number of heads (default: 4)")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation: 1 = all variety, 0 = the average head")
    add_resolution(parser)
    add_quality(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from ..camera import Camera
    from ..export import contact_sheet, save_png
    from .feedback import progress_bar
    from .folder import output_folder
    from .models import load_one_generator
    from .pipeline import SHEET_YAWS

    generator = load_one_generator(args.generator, pick_device(args.device))
    cameras = Camera.look_at(yaw=SHEET_YAWS)
    rows, labels = [], []
    with output_folder(args.out, keep_finished=True) as folder, torch.no_grad(), progress_bar("views") as progress:
        for i in range(args.count):
            seed = args.seed + i
            triplane = generator.synthesize(generator.mapping(generator.latents(seed), truncation_psi=args.psi))
            triplane = triplane.replace(meta={"seed": seed, "psi": args.psi})
            triplane.save(folder / f"head-{seed:04d}.safetensors")
            view = generator.render(
                triplane,
                cameras,
                args.resolution,
                progress=lambda done, n, i=i: progress(i * n + done, n * args.count),
                quality=args.quality,
            )
            rows.append(view.image)
            labels.append(f"seed {seed}")
        columns = [f"{yaw}°" for yaw in SHEET_YAWS]
        save_png(contact_sheet(rows, labels, columns, min(rows[0].shape[-1], 224)), folder / "sheet.png")
    print(f"{args.count} heads and sheet.png are in {args.out}")
