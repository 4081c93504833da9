"""Reading cells as a sparse matrix: what `lookup` reads, and the adjoint of it."""

from __future__ import annotations

import torch
from einops import rearrange

from dualenc_core.rendering.cells import CellReader, cells_read
from dualenc_core.rendering.trigrid import lookup, splat


def _random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_reads_what_lookup_reads_and_spreads_as_splat_does():
    planes, points = _random(1, 3, 4 * 3, 8, 8, seed=0), 0.4 * _random(50, 3, seed=1).clamp(-1.2, 1.2)
    reader = CellReader.of(*cells_read(points, (3, 8, 8), 1.0))
    table = rearrange(planes, "1 p (c d) h w -> (p d h w) c", d=3)
    wanted = lookup(planes, points[None], 3, 1.0).sum(1)[0]
    assert torch.allclose(reader.read(table[reader.cells]), wanted, atol=1e-5)
    values = _random(50, 4, seed=2)
    spread = torch.zeros_like(table)
    spread[reader.cells] = reader.spread(values)
    wanted = rearrange(splat(points[None], values[None], 8, 3, 1.0), "1 p c d h w -> (p d h w) c")
    assert torch.allclose(spread, wanted, atol=1e-5)
    assert reader.cells.unique().equal(reader.cells)
