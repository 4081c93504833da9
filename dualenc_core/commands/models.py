"""The networks of a run, and which files they came from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoints import resolve
from ..encoders import HeadEncoder, load_encoder
from ..errors import DualEncError
from ..files import sha256
from ..generator import PanoHead
from ..generator.loading import load_generator
from ..triplane import Triplane
from .feedback import progress_bar
from .options import pick_device


@dataclass(frozen=True)
class Models:
    """A generator, its two encoders, and one line for each file (role, name, file, sha256)."""

    generator: PanoHead
    encoder1: HeadEncoder
    encoder2: HeadEncoder
    files: tuple[dict[str, str], ...]

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device


def load_models(generator: str, encoder1: str, encoder2: str, device: torch.device) -> Models:
    """Load all three; every file is looked for before the first is read, so that a missing one is known at once."""
    roles = {"generator": generator, "encoder 1": encoder1, "encoder 2": encoder2}
    files = tuple(describe(role, name) for role, name in roles.items())
    return Models(
        load_one_generator(generator, device),
        load_encoder(encoder1, device),
        load_encoder(encoder2, device),
        files,
    )


def load_one_generator(name: str, device: torch.device) -> PanoHead:
    """`load_generator` with a progress bar."""
    with progress_bar("reading the generator") as progress:
        return load_generator(name, device, progress)


def load_head(args: argparse.Namespace) -> tuple[PanoHead, Triplane]:
    """The generator, and the head of the file ``args.triplane`` that ``--head`` names, on the generator's device."""
    heads = Triplane.load(args.triplane)
    if args.head >= len(heads):
        raise DualEncError(f"--head is {args.head}, but {args.triplane} holds {len(heads)} head(s), counted from 0")
    generator = load_one_generator(args.generator, pick_device(args.device))
    return generator, heads[args.head].to(generator.w_avg.device)


def describe(role: str, name: str) -> dict[str, str]:
    """What a report says about a weights file; raises CheckpointError when it is not there."""
    path: Path = resolve("generator" if role == "generator" else "encoder", name)
    return {"role": role, "name": str(Path(name).name), "file": path.name, "sha256": sha256(path)}
