"""Turn one portrait photo into a head by optimisation instead of by encoders, or refine what the encoders make of it.

wplus and w look for the generator's own head that shows the photo; pti then tunes a copy of the generator, which is
written too, because only it can render that head; refine moves the cells of the stitched head that the photo shows.
Writes what `reconstruct` writes, and generator.safetensors for pti.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import add_device, add_encoders, add_generator, add_out, add_views, pick_device, positive, whole
from .reconstruct import add_alignment

if TYPE_CHECKING:
    from ..generator import PanoHead
    from ..inversion import Distance, Fitted
    from ..triplane import Triplane
    from .feedback import Stopwatch
    from .pipeline import Subject

MODES = {"wplus": "W+ optimisation", "w": "W optimisation", "pti": "PTI", "refine": "Refined"}

EXAMPLES = """  python -m dualenc_core optimize photo.jpg --out out/wplus
  python -m dualenc_core optimize photo.jpg --out out/pti --mode pti --generator weights/panohead.safetensors
  python -m dualenc_core optimize photo.jpg --out out/refined --mode refine --steps 50
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", type=Path, help="a photo with a face, in any format that Pillow reads")
    add_out(parser)
    parser.add_argument("--mode", choices=tuple(MODES), default="wplus", help="default: wplus")
    parser.add_argument("--steps", type=whole(1), help="of the search, or of refine (default: 500, refine 100)")
    parser.add_argument("--tune-steps", type=whole(1), default=500, help="of pti's second stage (default: 500)")
    parser.add_argument("--rate", type=positive, help="largest learning rate (default: 0.1; refine 0.02)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the noise of the search (default: 0)")
    parser.add_argument("--patience", type=whole(1), help="stop after this many steps without progress")
    parser.add_argument("--samples", type=whole(4), help="samples a ray while optimising (default: the generator's)")
    parser.add_argument(
        "--vgg", type=Path, metavar="FILE", help="VGG-16 for LPIPS; without it lpips-vgg of the weights list, if there"
    )
    add_generator(parser)
    add_encoders(parser)
    add_views(parser)
    add_device(parser)
    add_alignment(parser)


def run(args: argparse.Namespace) -> None:
    from ..inversion import find_distance
    from .feedback import Stopwatch
    from .folder import output_folder
    from .models import describe, load_one_generator
    from .pipeline import ViewOptions, present, stale_results
    from .reconstruct import check_photo, read_subject, summary

    clock = Stopwatch()
    given = check_photo(args)
    device = pick_device(args.device)
    distance = find_distance(device=device, path=args.vgg)
    if distance.note:
        print(distance.note)
    roles = {"generator": args.generator}
    if args.mode == "refine":
        roles |= {"encoder 1": args.encoder1, "encoder 2": args.encoder2}
    files = [describe(role, name) for role, name in roles.items()]
    with output_folder(args.out, stale_results(args.out)) as folder:
        with clock("load"):
            generator = load_one_generator(args.generator, device)
        with clock("align"):
            subject = read_subject(args, given, generator, device)
        before, fitted = _optimise(args, generator, subject, distance, clock)
        heads = before | {MODES[args.mode]: fitted.triplane}
        subject = dataclasses.replace(subject, camera=fitted.camera.to(subject.image.device))
        more: dict[str, Any] = {"optimisation": {**fitted.triplane.meta["optimised"], "history": list(fitted.history)}}
        if fitted.generator is not generator:
            _save_generator(fitted.generator, folder / "generator.safetensors", files[0])
            more["note"] = "triplane.safetensors belongs to generator.safetensors of this folder"
        outcome = present(fitted.generator, heads, files, subject, ViewOptions.of(args), folder, clock, more)
    print(summary(args.out, subject, outcome.report))


def _optimise(
    args: argparse.Namespace, generator: PanoHead, subject: Subject, distance: Distance, clock: Stopwatch
) -> tuple[dict[str, Triplane], Fitted]:
    from ..inversion import (
        EarlyStop,
        LatentSettings,
        Objective,
        PivotalSettings,
        RefineSettings,
        optimise_latent,
        pivotal_tuning,
        refine_triplane,
    )
    from .feedback import progress_bar

    stop = EarlyStop(args.patience)
    image, camera = subject.image.to(generator.w_avg), subject.camera.to(generator.w_avg.device)
    chosen = {name: value for name in ("steps", "rate") if (value := getattr(args, name)) is not None}
    if args.mode == "refine":
        stitched = _encode(args, generator, subject, clock)
        objective = Objective(pixels=1.0, distance=distance, samples=args.samples)
        with clock("optimise"), progress_bar("refining") as progress:
            settings = RefineSettings(objective=objective, stop=stop, **chosen)
            return {"Dual": stitched}, refine_triplane(generator, stitched, image, camera, settings, progress)
    objective = Objective(distance=distance, samples=args.samples)
    space = "w" if args.mode == "w" else "w+"
    latent = LatentSettings(space=space, seed=args.seed, objective=objective, stop=stop, **chosen)
    with clock("optimise"), progress_bar("optimising") as progress:
        if args.mode != "pti":
            return {}, optimise_latent(generator, image, camera, latent, progress=progress)
        pivotal = PivotalSettings(latent, steps=args.tune_steps, stop=stop)
        return {}, pivotal_tuning(generator, image, camera, pivotal, progress=progress)


def _encode(args: argparse.Namespace, generator: PanoHead, subject: Subject, clock: Stopwatch) -> Triplane:
    from ..encoders import load_encoder
    from ..inversion import DualEncoder

    device = generator.w_avg.device
    matte = None if subject.matte is None else subject.matte.to(device)
    with clock("encode"):
        encoder1, encoder2 = (load_encoder(name, device) for name in (args.encoder1, args.encoder2))
        dual = DualEncoder(generator, encoder1, encoder2, args.stitch, args.hidden_colours)
        return dual.invert(subject.image.to(device), subject.camera.to(device), matte, keep_background=True).triplane


def _save_generator(generator: PanoHead, path: Path, source: dict[str, str]) -> None:
    from ..checkpoints import save_generator

    init, rendering = generator.config.to_official()
    config = {
        "init_kwargs": init,
        "rendering_kwargs": rendering,
        "neural_rendering_resolution": generator.config.neural_resolution,
    }
    save_generator(path, generator.state_dict(), config, {"tuned from": source["sha256"], "method": "PTI"})
