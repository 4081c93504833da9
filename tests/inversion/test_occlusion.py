from __future__ import annotations

import pytest
import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.inversion import occlusion_mask, surface_resolution, visibility, visible_surface
from dualenc_core.inversion.occlusion import dilate, erode, touched_cells
from dualenc_core.rendering.trigrid import lookup
from dualenc_core.research.evaluation.agreement import surface_points, true_visibility, visibility_agreement

RADII = torch.tensor([0.16, 0.22, 0.19])


def ellipsoid_points(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points on the test ellipsoid and their outward normals."""
    unit = torch.nn.functional.normalize(torch.randn(1, count, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    return unit * RADII, torch.nn.functional.normalize(unit / RADII, dim=-1)


def mirrored(mask: torch.Tensor) -> torch.Tensor:
    """x runs along W in planes xy and xz and along D in plane yz."""
    xy, xz, yz = mask.unbind(1)
    return torch.stack([xy.flip(-1), xz.flip(-1), yz.flip(1)], dim=1)


def test_surface_lies_on_the_ellipsoid(analytic):
    generator, triplane = analytic()
    surface = visible_surface(generator, triplane, Camera.look_at(30, 10), resolution=48)
    hit = surface.alpha.flatten() > 0.5
    assert 0.1 < hit.float().mean() < 0.6
    # Depths are means over sampling intervals of 0.01 world units, and the thinnest half-axis is 0.16.
    assert ((surface.points[0, hit] / RADII).norm(dim=-1) - 1).abs().mean() < 0.06
    offset = surface.points[0] - surface.camera.position
    assert torch.allclose(offset.norm(dim=-1), surface.depth.flatten(), atol=1e-5)


def test_resolution_follows_the_planes_and_the_lens():
    camera = Camera.look_at()
    assert surface_resolution(camera, 256, 1.0) == 230
    assert surface_resolution(camera, 64, 1.0) == 58
    assert surface_resolution(camera.zoomed(2), 256, 1.0) == 115
    assert surface_resolution(camera, 256, 2.0) == 115


@pytest.mark.parametrize("size", [32, 64])
def test_default_resolution_leaves_no_holes(analytic, size):
    generator, triplane = analytic(size=size)
    camera = Camera.look_at(20)
    usual = occlusion_mask(generator, triplane, camera, closing=0, softness=0).mask
    dense = occlusion_mask(generator, triplane, camera, closing=0, softness=0, resolution=160).mask
    # Cells that only a much denser ray grid finds are slivers on the rim.
    assert (usual - dense).clamp(min=0).mean() < 0.15 * (1 - dense).mean()
    # No hole inside: each would be closed.
    cells = (1 - usual).flatten(1, 2)
    assert float((erode(dilate(cells, 1), 1) - cells).mean()) < 0.02 * float(cells.mean())


def test_cells_that_the_visible_surface_reads_are_exactly_zero(analytic):
    generator, triplane = analytic()
    camera = Camera.look_at(-25, 5)
    for softness in (0, 1, 3):
        mask = occlusion_mask(generator, triplane, camera, softness=softness)
        surface = visible_surface(generator, triplane, camera)
        hit = surface.alpha.flatten(1) >= 0.5
        occluded = lookup(mask.mask, surface.points, 3, 1.0)[:, :, hit[0]]
        assert occluded.abs().max() < 2e-4
        assert float(mask.mask.min()) == 0 and float(mask.mask.max()) == 1


def test_mask_is_binary_without_softness_and_graded_with(analytic):
    generator, triplane = analytic()
    camera = Camera.look_at()
    hard = occlusion_mask(generator, triplane, camera, softness=0).mask
    soft = occlusion_mask(generator, triplane, camera, softness=3).mask
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert len(soft.unique()) > 4
    # Feathering only takes from the occluded side, and only a few cells of it.
    assert bool((soft <= hard).all())
    far = 1 - dilate((1 - hard).flatten(1, 2), 7).reshape(hard.shape)
    assert bool((soft[far > 0] == 1).all())


def test_mask_against_analytic_visibility_of_an_ellipsoid(analytic):
    generator, triplane = analytic(size=128)
    camera = Camera.look_at(0)
    points, normals = ellipsoid_points(4000)
    facing = ((camera.position[:, None] - points) * normals).sum(-1)[0]
    clearly_seen, clearly_hidden = facing > 0.3, facing < -1.5
    mask = occlusion_mask(generator, triplane, camera, softness=0).mask
    occluded = lookup(mask, points, 3, 1.0)[0].mean((0, 2))
    assert occluded[clearly_seen].mean() < 0.25
    assert occluded[clearly_hidden].mean() > 0.5

    weight = visibility(generator, triplane, camera)(points)[0, :, 0]
    assert weight[clearly_seen].min() > 0.9
    assert weight[clearly_hidden].max() < 0.05


def test_slices(analytic):
    generator, triplane = analytic()
    camera = Camera.look_at(0)
    mask = occlusion_mask(generator, triplane, camera, softness=0).mask
    shared = occlusion_mask(generator, triplane, camera, softness=0, per_slice=False).mask
    assert torch.equal(shared[:, :, 0], shared[:, :, 2])
    assert torch.equal(shared[:, :, 0], mask.amin(2))
    # From the front the slice nearest to the back of the head (lowest z) is the least read one of plane xy.
    visible = (1 - mask)[0, 0].mean((1, 2))
    assert visible[0] < visible[2]


def test_mirrored_view_gives_the_mirrored_mask(analytic):
    def lopsided(points):
        centre = torch.tensor([0.07, 0.02, 0.03])
        return (points - centre).norm(dim=-1) - 0.17

    flip = torch.tensor([-1.0, 1.0, 1.0])
    camera = Camera.look_at(35, 8, roll=4)
    generator, triplane = analytic(lopsided)
    other, blank = analytic(lambda points: lopsided(points * flip))
    mask = occlusion_mask(generator, triplane, camera, softness=2).mask
    reflection = occlusion_mask(other, blank, camera.mirrored, softness=2).mask
    # Single rays may fall on either side of ½; nothing else may differ.
    assert (mirrored(reflection) - mask).abs().mean() < 2e-3
    assert (reflection - mask).abs().mean() > 1e-2


def test_batch_equals_singles_and_is_deterministic(tiny, heads):
    triplane, _ = heads
    camera = Camera.look_at([10, -50], [0, 10])
    both = occlusion_mask(tiny, triplane, camera, resolution=24).mask
    again = occlusion_mask(tiny, triplane, camera, resolution=24).mask
    assert torch.equal(both, again)
    for i in range(2):
        single = occlusion_mask(tiny, triplane[i], camera[i], resolution=24).mask
        assert (single - both[i : i + 1]).abs().mean() < 1e-3
    one_view = occlusion_mask(tiny, triplane, camera[0], resolution=24).mask
    assert (one_view[:1] - both[:1]).abs().mean() < 1e-3


def test_nothing_visible_is_all_occluded(analytic):
    generator, triplane = analytic(lambda points: points.norm(dim=-1) + 1)
    mask = occlusion_mask(generator, triplane, Camera.look_at())
    assert bool((mask.mask == 1).all())
    # For points, space that is seen to be empty is visible, and what lies outside the picture is not.
    weight = visibility(generator, triplane, Camera.look_at())
    assert weight(torch.tensor([[[0.0, 0, 0], [0.0, 0, -0.2]]])).min() > 0.99
    assert weight(torch.tensor([[[0.45, 0.45, 0.0], [-0.45, 0, 0]]])).max() == 0


def test_bad_input(tiny, heads):
    triplane, _ = heads
    with pytest.raises(GeneratorMismatchError, match="made by generator beef"):
        occlusion_mask(tiny, triplane.replace(generator="beef"), Camera.look_at())
    with pytest.raises(DualEncError, match="camera batch is 3"):
        visibility(tiny, triplane, Camera.look_at([0, 1, 2]))
    with pytest.raises(DualEncError, match="softness is 0"):
        visibility(tiny, triplane, Camera.look_at(), softness=0)
    with pytest.raises(DualEncError, match="dilation is -1"):
        occlusion_mask(tiny, triplane, Camera.look_at(), dilation=-1)


def test_progress(tiny, heads):
    seen = []
    visible_surface(tiny, heads[0], Camera.look_at(), 16, chunk=128, progress=lambda *p: seen.append(p))
    assert seen == [(64, 256), (128, 256), (192, 256), (256, 256)]


def test_morphology():
    cells = torch.zeros(1, 1, 9, 9)
    cells[..., 2:7, 2:7] = 1
    cells[..., 4, 4] = 0
    closed = erode(dilate(cells, 1), 1)
    assert closed[..., 4, 4] == 1 and closed.sum() == 25
    assert torch.equal(dilate(cells, 0), cells) and torch.equal(erode(cells, 0), cells)


def test_touched_cells_ignores_thin_rays(analytic):
    generator, triplane = analytic()
    surface = visible_surface(generator, triplane, Camera.look_at(), 32)
    thin = type(surface)(surface.camera, surface.points * float("inf"), surface.depth, surface.alpha * 0.49)
    assert touched_cells(thin, 64, 3, 1.0).sum() == 0


@pytest.mark.parametrize("yaw", [0.0, 40.0])
def test_agreement_with_true_visibility_of_procedural_heads(analytic, yaw):
    heads = procedural.sample_heads(1, seed=1_000_123)
    generator, triplane = analytic(lambda points: procedural.signed_distance(heads, points), size=64)
    camera = Camera.look_at(yaw, 5)
    points = surface_points(heads)
    cells = visibility_agreement(heads, camera, occlusion_mask(generator, triplane, camera), points=points)
    by_points = visibility_agreement(heads, camera, visibility(generator, triplane, camera), points=points)
    assert 0.3 < cells.visible < 0.7
    assert cells.agreement > 0.7 and cells.recall > 0.85
    assert by_points.agreement > 0.8 and by_points.recall > 0.98
    assert by_points.agreement > cells.agreement and by_points.leak < cells.leak


def test_true_visibility_of_a_seen_and_a_hidden_point():
    heads = procedural.sample_heads(1, seed=1_000_000, details=False)
    points, exist = surface_points(heads, views=2, resolution=16)
    seen = true_visibility(heads, Camera.look_at(0, -10), points)
    front, back = exist.clone(), exist.clone()
    front[:, 256:], back[:, :256] = False, False
    assert seen[front].float().mean() > 0.95
    assert seen[back].float().mean() < 0.2
