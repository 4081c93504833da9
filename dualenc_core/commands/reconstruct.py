"""Turn one portrait photo into a head that can be seen from every side.

Writes into the output folder: crop.png, overlay.png (what the alignment did), comparison.png (photo | reconstruction),
sheet.png (Encoder 1, Encoder 2 and both joined, at 8 yaws), turntable.mp4, depth.png (16 bit) and alpha.png of the
photo's view, triplane.safetensors (the head, for `render`), report.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import add_device, add_encoders, add_generator, add_out, add_views, pick_device, positive, whole

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..camera import Camera
    from ..generator import PanoHead
    from .pipeline import Subject

EXAMPLES = """  python -m dualenc_core reconstruct photo.jpg --out out/photo
  python -m dualenc_core reconstruct group.jpg --out out/second --face 1
  python -m dualenc_core reconstruct photo.jpg --out out/photo --yaw 35 --scale 1.1 --shift 0 -0.02
  python -m dualenc_core reconstruct crop.png --out out/crop --no-align --camera out/photo/report.json
  python -m dualenc_core reconstruct photo.jpg --out out/photo --generator weights/panohead.safetensors \\
      --encoder1 weights/e1.safetensors --encoder2 weights/e2.safetensors --device cuda
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", type=Path, help="a photo with a face, in any format that Pillow reads")
    add_out(parser)
    add_generator(parser)
    add_encoders(parser)
    add_views(parser)
    add_device(parser)
    add_alignment(parser)


def run(args: argparse.Namespace) -> None:
    from .feedback import Stopwatch
    from .folder import output_folder
    from .models import load_models
    from .pipeline import ViewOptions, reconstruct, stale_results

    clock = Stopwatch()
    given = check_photo(args)
    device = pick_device(args.device)
    with output_folder(args.out, stale_results(args.out)) as folder:
        with clock("load"):
            models = load_models(args.generator, args.encoder1, args.encoder2, device)
        with clock("align"):
            subject = read_subject(args, given, models.generator, device)
        outcome = reconstruct(models, subject, ViewOptions.of(args), folder, clock)
    print(summary(args.out, subject, outcome.report))


def add_alignment(parser: argparse.ArgumentParser) -> None:
    """Options of everything that starts with a photo."""
    align = parser.add_argument_group("alignment", "everything that the detector finds can be set by hand")
    align.add_argument(
        "--face", type=whole(0), metavar="N", help="which face, when there are several (overlay.png numbers them)"
    )
    align.add_argument("--mask", type=Path, metavar="FILE", help="a picture of the photo's size, white on the head")
    for name in ("yaw", "pitch", "roll"):
        align.add_argument(f"--{name}", type=float, metavar="DEGREES", help=f"{name} of the camera, instead of found")
    align.add_argument(
        "--scale", type=positive, default=1.0, help="above 1 shows more around the head, which gets smaller"
    )
    align.add_argument(
        "--shift", type=float, nargs=2, default=(0.0, 0.0), metavar=("X", "Y"), help="moves the crop, in crop widths"
    )
    align.add_argument("--keep-background", action="store_true", help="do not replace what is not head")
    align.add_argument(
        "--no-align",
        action="store_true",
        help="the photo is an aligned square crop; give --camera, or --yaw and --pitch",
    )
    align.add_argument(
        "--camera", metavar="FILE", help="with --no-align: 25 numbers, a file with them, or a report.json"
    )


def check_photo(args: argparse.Namespace) -> Camera | None:
    """The camera that was given with an aligned crop, None for a photo; before anything large is loaded."""
    from ..errors import DualEncError

    if args.camera and not args.no_align:
        raise DualEncError("--camera is for aligned crops; add --no-align, or leave --camera out")
    for path in filter(None, (args.photo, args.mask)):
        if not path.is_file():
            raise DualEncError(f"{path} is not a file; check the name")
    return _given_camera(args) if args.no_align else None


def read_subject(args: argparse.Namespace, given: Camera | None, generator: PanoHead, device: torch.device) -> Subject:
    """The portrait that the options mean, on the generator's background unless that is to stay."""
    from .photo import read_crop
    from .pipeline import Subject

    source = describe_file(args.photo)
    if given is not None:
        image, matte = read_crop(args.photo, args.mask)
        subject = Subject(image, given, matte, source=source, alignment={"method": "given"})
    else:
        subject = aligned(args.photo, source, args.mask, device, **_overrides(args))
    return subject if args.keep_background else without_background(subject, generator)


def aligned(
    photo: Path | np.ndarray, source: dict[str, str], mask: Path | None, device: torch.device, **overrides: Any
) -> Subject:
    """Find the face, crop, and estimate the camera; errors of `align_portrait` pass through."""
    from ..portrait import align_portrait
    from .pipeline import Subject

    portrait = align_portrait(photo, mask=mask, device=device, **overrides)
    return Subject(
        portrait.image,
        portrait.camera,
        portrait.matte,
        portrait.overlay * 2 - 1,
        source=source,
        alignment={
            "method": "found",
            "text": portrait.report.text,
            "confidence": portrait.report.confidence,
            "warnings": [{"code": w.code, "message": w.message} for w in portrait.report.warnings],
            "overrides": {name: value for name, value in overrides.items() if value is not None},
        },
    )


def without_background(subject: Subject, generator: PanoHead) -> Subject:
    """The head on the generator's own background colour: what is around a head in a photo is not to be inverted."""
    import dataclasses

    from ..inversion import on_backdrop

    if subject.matte is None:
        return subject
    return dataclasses.replace(subject, image=on_backdrop(generator, subject.image, subject.matte))


def describe_file(path: Path) -> dict[str, str]:
    """Name and SHA-256 for the report; the folder is the user's own business."""
    from ..files import sha256

    return {"file": path.name, "sha256": sha256(path)}


def summary(out: Path, subject: Subject, report: dict) -> str:
    """What is printed at the end."""
    same = list(report["metrics"]["same_view"].values())[-1]
    names = ("sheet.png", "comparison.png", "turntable.mp4", "triplane.safetensors", "report.json")
    lines = [subject.alignment.get("text", "")]
    lines += [
        f"same view: PSNR {same['psnr']:.2f} dB, SSIM {same['ssim']:.3f}",
        f"results are in {out}: {', '.join(name for name in names if (out / name).exists())}, …",
    ]
    return "\n".join(line for line in lines if line)


def _overrides(args: argparse.Namespace) -> dict:
    return {
        "face": args.face,
        "yaw": args.yaw,
        "pitch": args.pitch,
        "roll": args.roll,
        "scale": args.scale,
        "shift": tuple(args.shift),
    }


def _given_camera(args: argparse.Namespace) -> Camera:
    from ..camera import Camera
    from ..errors import DualEncError
    from .photo import read_camera

    if args.camera is None and args.yaw is None:
        raise DualEncError("--no-align needs to know where the camera is; give --camera FILE, or --yaw and --pitch")
    if args.camera is not None and not (args.yaw is args.pitch is args.roll is None):
        raise DualEncError("--camera and --yaw, --pitch or --roll say the same thing twice; give one of them")
    if args.face is not None or args.scale != 1.0 or tuple(args.shift) != (0.0, 0.0):
        raise DualEncError("--face, --scale and --shift belong to the alignment that --no-align switches off")
    if args.camera is not None:
        return read_camera(args.camera)
    return Camera.look_at(args.yaw, args.pitch or 0.0, args.roll or 0.0)
