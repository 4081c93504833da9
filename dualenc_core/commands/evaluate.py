"""Measure a generator and its encoders, on heads whose every view is known or on photos.

people, procedural: each head is inverted from one view and compared with the truth all around, for both encoders, both
joined by cells and by points, and the generator alone; with --methods also for W+ optimisation and PTI. People come
from an asset pack (--people), procedural heads from the program; the default is what the generator knows.
directed: people are edited by one attribute after another and compared with the same people who have it.
photos: a folder of aligned portraits (`prepare`): the same view (L2, PSNR, SSIM, LPIPS, ID) and novel views (FID).
mead: the same of frames that several cameras took at once, in folders front, left_30, left_60, right_30, right_60.
Metrics whose weights are not here are reported as absent, with where to get them. Writes report.md and report.json,
and report.png for people and procedural heads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import FEED_FORWARD, METHODS, OPTIMISED
from .options import add_device, add_encoders, add_engine, add_generator, add_out, pick_device, positive, whole

if TYPE_CHECKING:
    from ..research.evaluation import Baselines

# Heads unless told. Of directed ones each edit has a truth of its own to draw, all around.
_HEADS, _DIRECTED_HEADS = 48, 2

EXAMPLES = """  python -m dualenc_core evaluate --people pack/ --out out/evaluation
  python -m dualenc_core evaluate --people pack/ --out out/four --heads 4 \\
      --control runs/people-control/model.safetensors
  python -m dualenc_core evaluate --protocol procedural --generator runs/demo-generator/model.safetensors \\
      --encoder1 e1.safetensors --encoder2 e2.safetensors --heads 4 --methods wplus pti --out out/baselines
  python -m dualenc_core evaluate --protocol directed --heads 2 --asked smile=0.8 light_yaw=120 --out out/directed
  python -m dualenc_core evaluate --protocol photos --data dataset/ --out out/photos \\
      --generator weights/panohead.safetensors --encoder1 weights/e1.safetensors --encoder2 weights/e2.safetensors
  python -m dualenc_core evaluate --protocol mead --data mead/ --out out/mead --methods points pti
  python -m dualenc_core evaluate --protocol photos --data /shared/dataset --out out/photos --engine ray --workers 16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser)
    parser.add_argument(
        "--protocol",
        choices=("procedural", "people", "directed", "photos", "mead"),
        help="default: procedural for a generator of procedural heads, else people",
    )
    add_generator(parser)
    add_encoders(parser)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="METHOD",
        help=f"of {', '.join(METHODS)}; people and procedural always have the first four (default: the first four)",
    )
    parser.add_argument("--steps", type=whole(1), default=500, help="of W+ optimisation (default: 500)")
    parser.add_argument("--tune-steps", type=whole(1), default=500, help="of PTI's second stage (default: 500)")
    parser.add_argument("--rate", type=positive, default=0.1, help="of W+ optimisation (default: 0.1)")
    parser.add_argument("--samples", type=whole(4), help="samples a ray while optimising (default: the generator's)")
    procedural = parser.add_argument_group("procedural heads and people")
    procedural.add_argument(
        "--control", metavar="FILE", help="an Encoder 2 trained without its discriminator, to compare"
    )
    procedural.add_argument(
        "--heads", type=whole(1), help=f"number of heads (default: {_HEADS}, directed {_DIRECTED_HEADS})"
    )
    procedural.add_argument("--yaws", type=whole(1), default=8, help="views around each head (default: 8)")
    procedural.add_argument("--seed", type=int, help="of the heads; the default is one that no training uses")
    procedural.add_argument("--people", metavar="FOLDER", help="asset pack of people (default: DUALENC_PEOPLE)")
    directed = parser.add_argument_group("directed")
    directed.add_argument(
        "--asked", nargs="+", metavar="NAME=X", help="attributes and changes (default: twelve, of every group)"
    )
    directed.add_argument(
        "--variants",
        nargs="+",
        choices=("none", "moved", "plain", "generator"),
        default=["none", "moved", "plain", "generator"],
        help="none: the head as it is; moved: edited; plain: edited without motions; generator: its own head of the "
        "true description, edited so (default: all)",
    )
    photos = parser.add_argument_group("photos and mead")
    photos.add_argument("--data", type=Path, metavar="FOLDER", help="aligned portraits with dataset.json")
    photos.add_argument("--masks", type=Path, metavar="FOLDER", help="their masks (default: masks/ beside images/)")
    photos.add_argument("--limit", type=whole(1), help="only the first photos")
    photos.add_argument("--novel", type=whole(0), default=1000, help="novel views for FID, 0 for none (default: 1000)")
    photos.add_argument("--keep-background", action="store_true", help="do not replace what is not head")
    add_engine(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    from ..files import read_text

    protocols = {"photos": _photos, "mead": _photos, "directed": _directed}
    run_protocol = protocols.get(args.protocol, _known)
    run_protocol(args)
    print(read_text(args.out / "report.md"))


def _known(args: argparse.Namespace) -> None:
    from .. import procedural
    from ..encoders.networks import NetworkFiles, load_networks
    from ..errors import require
    from ..people import Pack
    from ..research.evaluation import run_procedural
    from ..research.evaluation.distributed import Workers, distribute_procedural
    from ..research.evaluation.procedural import FIRST_TEST_SEED
    from .feedback import progress_bar
    from .folder import output_folder

    # Asked for before the work, not after it.
    require("matplotlib", "matplotlib")
    device = str(pick_device(args.device))
    encoders = {"encoder1": args.encoder1, "encoder2": args.encoder2, "control": args.control}
    files = NetworkFiles.find(device, args.generator, **encoders)
    networks = load_networks(files)
    seed = FIRST_TEST_SEED if args.seed is None else args.seed
    heads = args.heads or _HEADS
    command = f"python -m dualenc_core evaluate --heads {heads} --yaws {args.yaws} --seed {seed}"
    optimise = tuple(name for name in OPTIMISED if name in (args.methods or ()))
    if optimise:
        command += f" --methods {' '.join(optimise)} --steps {args.steps} --tune-steps {args.tune_steps}"
        command += f" --rate {args.rate:g}" + (f" --samples {args.samples}" if args.samples else "")
    people = None
    known = "procedural" if networks.generator.config.z_dim == procedural.LATENT_DIM else "people"
    if (args.protocol or known) == "people":
        people = str(Pack.open(args.people).root)
        command += " --protocol people"
    baselines = _baselines(args, device if optimise else None)
    with output_folder(args.out) as folder, progress_bar("heads") as progress:
        run_procedural(
            folder,
            networks.generator,
            *networks.pair,
            networks.control,
            heads=heads,
            yaws=args.yaws,
            seed=seed,
            progress=progress,
            command=command,
            optimise=optimise,
            people=people,
            distribute=distribute_procedural(files, baselines, Workers(args.engine, args.workers)),
        )


def _directed(args: argparse.Namespace) -> None:
    from ..encoders.networks import NetworkFiles, load_networks
    from ..people import Pack
    from ..research.evaluation.directed import ASKED, DirectedSettings, evaluate_directed
    from ..research.evaluation.procedural import FIRST_TEST_SEED
    from .feedback import progress_bar
    from .folder import output_folder

    files = NetworkFiles.find(
        str(pick_device(args.device)), args.generator, encoder1=args.encoder1, encoder2=args.encoder2
    )
    networks = load_networks(files)
    asked = dict(map(_change, args.asked)) if args.asked else ASKED
    seed = FIRST_TEST_SEED if args.seed is None else args.seed
    heads = args.heads or _DIRECTED_HEADS
    settings = DirectedSettings(heads, asked, str(Pack.open(args.people).root), seed, args.yaws, tuple(args.variants))
    command = (
        f"python -m dualenc_core evaluate --protocol directed --heads {heads} --yaws {args.yaws} --seed {seed} "
        f"--asked {' '.join(f'{name}={x:g}' for name, x in asked.items())} --variants {' '.join(args.variants)}"
    )
    with output_folder(args.out) as folder, progress_bar("edits") as progress:
        report = evaluate_directed(networks.generator, *networks.pair, settings, progress, command, folder, print)
        report.write(folder)


def _change(text: str) -> tuple[str, float]:
    from ..errors import DualEncError

    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise DualEncError(f"--asked is {text!r}, expected NAME=NUMBER, for example smile=0.8") from None


def _photos(args: argparse.Namespace) -> None:
    from ..checkpoints import weights_folder
    from ..encoders.networks import NetworkFiles, load_networks
    from ..errors import DualEncError
    from ..research.data import ImageFolder
    from ..research.evaluation import PhotoSettings, evaluate_photos, write_photo_report
    from ..research.evaluation.distributed import PhotoTask, Workers, distribute_photos, photo_methods
    from ..research.evaluation.report import provenance
    from .feedback import progress_bar
    from .folder import output_folder

    if args.data is None:
        raise DualEncError(f"--protocol {args.protocol} needs --data FOLDER; `prepare` makes one from photos")
    names = tuple(args.methods or FEED_FORWARD)
    settings = PhotoSettings(limit=args.limit, novel=args.novel, keep_background=args.keep_background)
    folder = ImageFolder.open(args.data, masks=args.masks)
    device = str(pick_device(args.device))
    encoded, optimised = set(names) & set(FEED_FORWARD), set(names) & set(OPTIMISED)
    encoders = {"encoder1": args.encoder1, "encoder2": args.encoder2} if encoded else {}
    files = NetworkFiles.find(device, args.generator, **encoders)
    task = PhotoTask(
        networks=files,
        methods=names,
        baselines=_baselines(args, device if optimised else None),
        folder=str(args.data.absolute()),
        masks=str(args.masks.absolute()) if args.masks else None,
        settings=settings,
        weights_dir=str(weights_folder().absolute()),
    )
    command = f"python -m dualenc_core evaluate --protocol {args.protocol} --data {args.data.name}"
    command += f" --methods {' '.join(names)} --novel {args.novel}" + (f" --limit {args.limit}" if args.limit else "")
    command += f" --steps {args.steps} --tune-steps {args.tune_steps}" if optimised else ""
    networks = load_networks(files)
    modules = {"generator": networks.generator, "encoder 1": networks.encoder1, "encoder 2": networks.encoder2}
    with output_folder(args.out, ["report.png"]) as out, progress_bar("photos") as progress:
        report = evaluate_photos(
            networks.generator,
            photo_methods(task),
            folder,
            settings,
            # Workers have one thread each.
            provenance(modules, command) | {"threads": 1},
            weights_dir=task.weights_dir,
            progress=progress,
            distribute=distribute_photos(task, Workers(args.engine, args.workers)),
            protocol=args.protocol,
        )
        write_photo_report(report, out)


def _baselines(args: argparse.Namespace, announce_on: str | None) -> Baselines:
    """Settings without networks; says on which distance they will lean, given the device, if that is not LPIPS."""
    from ..inversion import LatentSettings, Objective, PivotalSettings, find_distance
    from ..research.evaluation import Baselines

    if announce_on and (note := find_distance(device=announce_on).note):
        print(note)
    latent = LatentSettings(steps=args.steps, rate=args.rate, objective=Objective(samples=args.samples))
    return Baselines(latent, PivotalSettings(latent, steps=args.tune_steps))
