"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import DEVICES, QUALITIES, STITCHES
from ..errors import DualEncError

if TYPE_CHECKING:
    import torch


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto, the fastest there is")


def add_out(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=default is None,
        default=None if default is None else Path(default),
        help="folder of the results" + (f" (default: {default})" if default else ""),
    )


def add_generator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--generator", default="demo", help="demo, a name of the weights list, a .safetensors or an official .pkl file"
    )


def add_encoders(parser: argparse.ArgumentParser) -> None:
    for number, role in ((1, "what the photo shows"), (2, "what it does not")):
        parser.add_argument(
            f"--encoder{number}", default=f"demo-e{number}", help=f"encoder for {role}: demo-e{number} or a file"
        )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Options of everything that does many items, each on its own."""
    parser.add_argument(
        "--workers",
        type=whole(0),
        default=0,
        help="processes at once, one thread each; 0 (default) = one a processor, up to 8; one on a GPU. The results "
        "are the same",
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="local processes (default), or a Ray cluster"
    )


def add_views(parser: argparse.ArgumentParser) -> None:
    """Options of everything that ends in a sheet and a turntable."""
    add_stitch(parser)
    parser.add_argument("--frames", type=whole(0), default=60, help="frames of the turntable, 0 for none (default: 60)")
    parser.add_argument("--fps", type=positive, default=24.0, help="frames a second of the turntable (default: 24)")
    add_resolution(parser)
    add_quality(parser)


def add_stitch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stitch",
        choices=STITCHES,
        default=STITCHES[0],
        help="join the two heads by points in space (default) or by tri-grid cells, as in the paper",
    )
    parser.add_argument(
        "--hidden-colours",
        type=share,
        default=1.0,
        metavar="0..1",
        help="by points: how far hidden parts take on the colours of visible ones; 0 = Encoder 2's own, 1 = matched "
        "(default); for other encoders than the bundled ones, which have learned these colours",
    )


def add_resolution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resolution", type=whole(8), help="rays along each side of a picture (default: the generator's)"
    )


def add_quality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quality",
        choices=QUALITIES,
        default=QUALITIES[0],
        help="reference: the plain renderer; exact (default): the same up to rounding, several times as fast; "
        "high, draft: faster at full size, with small errors",
    )


def add_head(parser: argparse.ArgumentParser) -> None:
    """Read it with `models.load_head`."""
    parser.add_argument("--head", type=whole(0), default=0, metavar="N", help="which head of a batch (default: 0)")


def add_background(parser: argparse.ArgumentParser) -> None:
    """Read it with `generator.background.read_background`."""
    parser.add_argument(
        "--background",
        default="generator",
        metavar="WHAT",
        help="generator (default), none (transparent), a colour like #fff, or R,G,B in 0..1",
    )


def whole(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least ``least``."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def share(text: str) -> float:
    """An argparse type: a number in 0..1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number in 0..1")
    return value


def positive(text: str) -> float:
    """An argparse type: a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def pick_device(name: str) -> torch.device:
    """The torch device that ``--device`` means.

    Raises DualEncError for one that this machine or this build of PyTorch does not have.
    """
    import torch

    # Densities far outside the head underflow to denormal numbers, on which a CPU is several times slower.
    torch.set_flush_denormal(True)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        usable = ", ".join(device for device, usable in available.items() if usable)
        raise DualEncError(
            f"the device {name} is not available to this PyTorch ({torch.__version__}); this machine has {usable}"
        )
    return torch.device(name)
