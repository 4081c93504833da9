"""The figures of the measurement, on a few small heads."""

from __future__ import annotations

import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.editing.regions import ring
from dualenc_core.point_weight import LabelVolume
from dualenc_core.procedural import Part
from tests.benchmarks.editing import (
    AnalyticHeads,
    Coverage,
    dressed,
    haired,
    measure_regions,
    part_masks,
)


def test_analytic_heads_are_the_procedural_ones():
    heads = haired(2, 1_000_000)
    generator = AnalyticHeads(heads, 16)
    for i in range(2):
        camera = Camera.look_at(30)
        made = generator.render(generator.head(i), camera, 32, super_resolve=False)
        truth = procedural.render(heads[i], camera, 32, antialias=1, background=(0.5, 0.5, 0.5))
        solid = (truth.alpha > 0.5) & (made.alpha > 0.5)
        assert ((made.alpha > 0.5) == (truth.alpha > 0.5)).float().mean() > 0.97
        assert (made.depth - truth.depth)[solid].abs().mean() < 0.01
        assert ((made.image - truth.image).abs().mean(1, keepdim=True))[solid].mean() < 0.12


def test_coverage_counts_hair_and_face():
    labels = torch.tensor([Part.HAIR, Part.HAIR, Part.SKIN, Part.LIPS, Part.CLOTH])
    points = torch.tensor([[0.2, 0, 0], [-0.2, 0, 0], [0.2, 0.1, 0], [-0.2, 0.1, 0], [0.2, 0.3, 0]])
    right = torch.zeros(1, 1, 2, 2, 2)
    right[..., 1] = 0.8
    found = Coverage.of(LabelVolume(right), points, labels, 1.0)
    assert found.hair_replaced == found.face_replaced == 0.5
    assert 0.3 < found.hair < 0.5 and 0.3 < found.face < 0.5


def test_region_figures_reach_their_aims():
    table = measure_regions(heads=1, plane_size=64, resolution=48)
    assert set(table) == {
        "1 frontal view",
        "1 frontal view, completed",
        "4 ring views",
        "8 ring views",
        "4 ring views, precise",
    }
    assert table["4 ring views"].hair_replaced > 0.92 and table["4 ring views"].face_replaced < 0.06
    precise = table["4 ring views, precise"]
    assert precise.hair_replaced > 0.95 and precise.face_replaced < 0.03
    assert table["1 frontal view"].hair_replaced < table["1 frontal view, completed"].hair_replaced


def test_true_masks_and_dressed_heads():
    heads = haired(2, 1_000_000, shaved=True)
    assert float(heads.hair.min()) > 0.6 and float(heads.beard.max()) <= 0.05
    masks = part_masks(heads[0], ring(2), 32)
    assert masks.shape == (2, 32, 32) and 0.02 < float(masks.mean()) < 0.5
    new = dressed(heads[0], heads[1])
    assert torch.equal(new.hair_colour, heads[1].hair_colour) and torch.equal(new.skin_colour, heads[0].skin_colour)
