"""Random numbers by name: what a step draws depends on the seed and on its place alone.

So a resumed run draws what it would have drawn, and two processes with one head each draw what one with two does.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def named(*key: int | str) -> torch.Generator:
    """A generator on the CPU for a key such as (seed, "mirror", step, slot)."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def uniform(rngs: list[torch.Generator], *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """[len(rngs), *shape] in [0,1), one generator a row."""
    return torch.stack([torch.rand(shape, generator=rng) for rng in rngs]).to(device)
