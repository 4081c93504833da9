"""Measure a generator and its encoders on procedural heads, whose every view is known.

Each head is inverted from one view and compared with the truth all around, for Encoder 1, Encoder 2, both joined by
cells and by points, and the generator alone. Writes report.md, report.json and report.png.
"""

from __future__ import annotations

import argparse

from .options import add_device, add_encoders, add_generator, add_out, pick_device, whole

EXAMPLES = """  python -m dualenc_core evaluate --out out/evaluation
  python -m dualenc_core evaluate --out out/quick --heads 4 --control runs/demo-control/model.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser)
    add_generator(parser)
    add_encoders(parser)
    parser.add_argument("--control", metavar="FILE", help="an Encoder 2 trained without its discriminator, to compare")
    parser.add_argument("--heads", type=whole(1), default=48, help="number of heads (default: 48)")
    parser.add_argument("--yaws", type=whole(1), default=8, help="views around each head (default: 8)")
    parser.add_argument("--seed", type=int, help="of the heads; the default is one that no training uses")
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from ..encoders import load_encoder
    from ..errors import require
    from ..evaluation import run_procedural
    from ..evaluation.procedural import FIRST_TEST_SEED
    from .feedback import progress_bar
    from .folder import output_folder
    from .models import load_models

    # Asked for before the work, not after it.
    require("matplotlib", "matplotlib")
    device = pick_device(args.device)
    models = load_models(args.generator, args.encoder1, args.encoder2, device)
    control = load_encoder(args.control, device) if args.control else None
    seed = FIRST_TEST_SEED if args.seed is None else args.seed
    command = f"python -m dualenc_core evaluate --heads {args.heads} --yaws {args.yaws} --seed {seed}"
    with output_folder(args.out) as folder, progress_bar("heads") as progress:
        run_procedural(
            folder,
            models.generator,
            models.encoder1,
            models.encoder2,
            control,
            heads=args.heads,
            yaws=args.yaws,
            seed=seed,
            progress=progress,
            command=command,
        )
    print((args.out / "report.md").read_text(encoding="utf-8"))
