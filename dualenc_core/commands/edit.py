"""Change saved heads: take a part of another one, blend two, mirror, mix styles, change attributes.

Writes OUT/triplane.safetensors, OUT/sheet.png with the heads from 8 yaws, and OUT/edit.json with what was done.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import MATCHES, NO_MATCH, PARTS, RECIPE_PARTS, SEAMS
from . import edit_attributes
from .options import add_device, add_generator, add_out, add_quality, add_resolution, pick_device

if TYPE_CHECKING:
    from ..editing.checks import Region
    from ..generator import PanoHead
    from ..triplane import Triplane

EXAMPLES = """  python -m dualenc_core edit transfer mine.safetensors other.safetensors --part hair --out out/hair
  python -m dualenc_core edit transfer mine.safetensors other.safetensors --precise --seam refine --out out/b
  python -m dualenc_core edit transfer mine.safetensors other.safetensors --painted front.png --yaw 0 --out out/c
  python -m dualenc_core edit blend mine.safetensors other.safetensors --weight 0.3 --out out/between
  python -m dualenc_core edit mirror mine.safetensors --out out/mirrored
  python -m dualenc_core edit mix mine.safetensors other.safetensors --rows 6- --out out/colours
  python -m dualenc_core edit attributes mine.safetensors --smile 0.8 --age 20 --light-yaw 60 --out out/older
  python -m dualenc_core edit attributes mine.safetensors --hair-style bob01 --hair-colour '#8a3b12' --out out/bob
  python -m dualenc_core edit attributes mine.safetensors --like other.safetensors --take expression --out out/like
  python -m dualenc_core edit attributes mine.safetensors --neutral --out out/neutral
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(metavar="EDIT", required=True)
    transfer = kinds.add_parser("transfer", help="a part of the second head onto the first")
    _heads(transfer, 2)
    transfer.add_argument("--part", choices=PARTS, default="hair", help="what is taken (default: hair)")
    transfer.add_argument(
        "--painted",
        type=Path,
        nargs="+",
        metavar="PNG",
        help="instead of --part: pictures of the second head's part, white = part, as seen from --yaw and --pitch",
    )
    transfer.add_argument("--yaw", type=float, nargs="+", default=[0.0], help="of each painted picture, degrees")
    transfer.add_argument("--pitch", type=float, nargs="+", default=[0.0], help="of each painted picture, degrees")
    transfer.add_argument(
        "--recipe",
        choices=tuple(RECIPE_PARTS),
        help="how wide the seam is (default: by --part; hair for painted parts)",
    )
    transfer.add_argument("--precise", action="store_true", help="mark points in space instead of tri-grid cells")
    transfer.add_argument("--seam", choices=SEAMS, default="feather", help="refine and implicit are slower")
    transfer.add_argument("--encoder", default="demo-e2", help="for the seam implicit (default: demo-e2)")
    transfer.add_argument("--feather", type=float, default=1.0, help="factor on the seam's width, 0 = hard")
    transfer.add_argument("--align", action="store_true", help="bring the second face onto the first one before")
    transfer.add_argument(
        "--match",
        choices=(*MATCHES, NO_MATCH),
        default=MATCHES[0],
        help="colours of the part: skin around it as on the first head (default), all as on the second, all as on the "
        "first, or raw features",
    )
    transfer.set_defaults(edit=_transfer)
    blend = kinds.add_parser("blend", help="a head between two")
    _heads(blend, 2)
    blend.add_argument("--weight", type=float, default=0.5, help="share of the second head (default: 0.5)")
    blend.set_defaults(edit=_blend)
    mirror = kinds.add_parser("mirror", help="the mirror image, exactly")
    _heads(mirror, 1)
    mirror.set_defaults(edit=_mirror)
    mix = kinds.add_parser("mix", help="style rows of the second head for the first")
    _heads(mix, 2)
    mix.add_argument("--rows", default="6-", help="such as 0-3, 7 or 6- for the rest: early = shape, late = colour")
    mix.add_argument("--strength", type=float, default=1.0, help="how far these rows move, 0..1")
    mix.set_defaults(edit=_mix)
    attributes = kinds.add_parser("attributes", help="age, smile, gaze, hair, beard, glasses, light and so on")
    _heads(attributes, 1)
    edit_attributes.add_options(attributes)
    for name, kind in kinds.choices.items():
        kind.formatter_class = argparse.RawDescriptionHelpFormatter
        kind.epilog = "examples:\n" + "\n".join(line for line in EXAMPLES.splitlines() if f" edit {name} " in line)
        add_out(kind)
        add_generator(kind)
        add_resolution(kind)
        add_quality(kind)
        add_device(kind)


def run(args: argparse.Namespace) -> None:
    from ..editing.checks import check_pair
    from ..errors import DualEncError
    from ..triplane import Triplane
    from .folder import output_folder
    from .models import load_one_generator
    from .pipeline import write_json

    heads = [Triplane.load(path) for path in args.triplane]
    if len(heads) == 2:
        # Here, and not after minutes of looking for a part.
        (first, second), (one, other) = args.triplane, heads
        if len(other) not in (1, len(one)):
            raise DualEncError(f"{second} holds {len(other)} heads and {first} {len(one)}; expected one, or as many")
        check_pair(one, other)
    generator = load_one_generator(args.generator, pick_device(args.device))
    heads = [head.to(generator.w_avg.device) for head in heads]
    with output_folder(args.out) as folder:
        result = args.edit(args, generator, *heads)
        result.save(folder / "triplane.safetensors")
        rows = {f"head {i}": head for i, head in enumerate(heads, start=1)} | {"result": result}
        write_sheet(generator, rows, folder / "sheet.png", args)
        write_json(folder / "edit.json", {"heads": [path.name for path in args.triplane], "meta": dict(result.meta)})
    print(f"triplane.safetensors, sheet.png and edit.json are in {args.out}")


def write_sheet(generator: PanoHead, heads: dict[str, Triplane], path: Path, args: argparse.Namespace) -> None:
    """A contact sheet of heads (a row for each, the first of a batch) from 8 yaws."""
    import torch

    from ..camera import Camera
    from ..export import contact_sheet, save_png
    from .feedback import progress_bar
    from .pipeline import SHEET_YAWS

    cameras = Camera.look_at(yaw=SHEET_YAWS)
    rows = []
    with torch.no_grad(), progress_bar("views") as progress:
        for i, head in enumerate(heads.values()):
            view = generator.render(
                head[0],
                cameras,
                args.resolution,
                progress=lambda done, n, i=i: progress(i * n + done, n * len(heads)),
                quality=args.quality,
            )
            rows.append(view.image)
    columns = [f"{yaw}°" for yaw in SHEET_YAWS]
    save_png(contact_sheet(rows, list(heads), columns, min(rows[0].shape[-1], 224)), path)


def _heads(parser: argparse.ArgumentParser, count: int) -> None:
    # One argument each: argparse cannot print help for a positional one with several names.
    for name, words in (("HEAD", "a saved head"), ("OTHER", "the second saved head"))[:count]:
        parser.add_argument("triplane", type=Path, action="append", metavar=name, help=words)


def _transfer(args: argparse.Namespace, generator: PanoHead, target: Triplane, reference: Triplane) -> Triplane:
    from .. import editing
    from ..encoders import load_encoder
    from .feedback import progress_bar

    encoder = load_encoder(args.encoder, target.planes.device) if args.seam == "implicit" else None
    with progress_bar("region") as progress:
        if args.painted:
            regions = [_painted(args, generator, reference, progress)]
        else:
            regions = [
                editing.find_part(generator, head, args.part, precise=args.precise, progress=progress)
                for head in (target, reference)
            ]
    part = "hair" if args.painted else args.part
    recipe = args.recipe or {"lips": "mouth", "eyes": "eyes", "brows": "eyes", "nose": "nose"}.get(part, "hair")
    with progress_bar("transfer") as progress:
        return editing.transfer(
            generator,
            target,
            reference,
            editing.union(*regions),
            recipe,
            args.seam,
            feather=args.feather,
            align="face" if args.align else None,
            match=None if args.match == NO_MATCH else args.match,
            encoder=encoder,
            progress=progress,
        )


def _painted(
    args: argparse.Namespace, generator: PanoHead, head: Triplane, progress: Callable[[int, int], None]
) -> Region:
    """The region of painted pictures, all round."""
    import numpy as np
    import torch

    from .. import editing
    from ..camera import Camera
    from ..errors import DualEncError
    from ..portrait import read_mask

    for name, angles in (("--yaw", args.yaw), ("--pitch", args.pitch)):
        if len(angles) not in (1, len(args.painted)):
            raise DualEncError(f"{name} has {len(angles)} angles for {len(args.painted)} painted picture(s)")
    yaw, pitch = (list(angles) * len(args.painted) for angles in (args.yaw, args.pitch))
    cameras = Camera.look_at(yaw[: len(args.painted)], pitch[: len(args.painted)]).to(head.planes.device)
    painted = []
    for path in args.painted:
        mask = read_mask(path, may_be_empty=True)
        scale = np.diag([float(mask.width), float(mask.height)]) / 256
        painted.append(mask.window(np.pad(scale, ((0, 0), (0, 1))), 256, border="border")[0, 0])
    masks, cameras = editing.complete_views(generator, head, torch.stack(painted), cameras, progress=progress)
    find = editing.region_volume if args.precise else editing.region_mask
    return find(generator, head, masks, cameras, progress=progress)


def _blend(args: argparse.Namespace, generator: PanoHead, first: Triplane, second: Triplane) -> Triplane:
    from .. import editing

    return editing.blend(first, second, args.weight, generator.config.render.box_warp)


def _mirror(args: argparse.Namespace, generator: PanoHead, head: Triplane) -> Triplane:
    from .. import editing

    generator.check(head)
    return editing.mirror(head)


def _mix(args: argparse.Namespace, generator: PanoHead, first: Triplane, second: Triplane) -> Triplane:
    from .. import editing

    rows = editing.parse_rows(args.rows, generator.config.num_ws)
    return editing.mix_styles(generator, first, second, rows, args.strength)
