from __future__ import annotations

import dataclasses

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.rendering.marching import interval_weights, march
from dualenc_core.rendering.output import Rendering
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.renderer import Draws, RenderOptions, crop_mask, render_rays
from dualenc_core.rendering.sampling import importance_depths, stratified_depths

OPTIONS = RenderOptions(samples=32, importance=32)


def sphere(points: torch.Tensor, radius: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """A dense ball; its feature is the point itself."""
    sigma = (1 + 20000 * (radius - points.norm(dim=-1, keepdim=True))).clamp(-50, 2000)
    return sigma, points


def rays(n: int = 1, resolution: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    return camera_rays(Camera.look_at([25.0 * i for i in range(n)]), resolution)


def test_a_ball_is_seen_where_it_is():
    origins, directions = rays(resolution=24)
    out = render_rays(sphere, origins, directions, OPTIONS)
    closest = (origins + 2.7 * directions).norm(dim=-1)
    inside, outside = closest < 0.18, closest > 0.22
    assert out.alpha[inside].min() > 0.98 and out.alpha[outside].max() < 1e-3
    points = origins + out.depth[..., None] * directions
    assert (points[inside].norm(dim=-1) - 0.2).abs().mean() < 0.02
    # Features are composited with the same weights as depth.
    assert torch.allclose(out.features[inside], points[inside] * out.alpha[inside][:, None], atol=2e-2)


def test_empty_rays_do_not_depend_on_the_batch():
    origins, directions = rays(2)

    def half_empty(points):
        sigma, features = sphere(points)
        sigma = torch.cat([sigma[:1], torch.full_like(sigma[1:], -1000.0)])
        return sigma, features

    out = render_rays(half_empty, origins, directions, OPTIONS)
    assert bool((out.depth[1] == OPTIONS.far).all()) and out.alpha[1].abs().max() == 0
    assert torch.isfinite(out.features).all()


def test_chunks_change_nothing_but_memory():
    origins, directions = rays(2)
    whole = render_rays(sphere, origins, directions, OPTIONS, chunk=10_000)
    seen = []
    parts = render_rays(sphere, origins, directions, OPTIONS, chunk=70, progress=lambda *p: seen.append(p))
    for a, b in zip(whole, parts, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert seen[-1] == (144, 144) and len(seen) == 5


def test_largest_query_is_bounded_by_the_chunk():
    sizes = []

    def query(points):
        sizes.append(points.shape[0] * points.shape[1])
        return sphere(points)

    render_rays(query, *rays(2), OPTIONS, chunk=64)
    assert max(sizes) <= 64 * 32


def test_deterministic_without_draws():
    first, second = (render_rays(sphere, *rays(), OPTIONS) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_draws_move_samples():
    origins, directions = rays()
    generator = torch.Generator().manual_seed(0)
    draws = Draws(torch.rand(1, 144, 32, generator=generator), torch.rand(144, 32, generator=generator))
    drawn, plain = (
        render_rays(sphere, origins, directions, OPTIONS, draws),
        render_rays(sphere, origins, directions, OPTIONS),
    )
    assert not torch.equal(drawn.depth, plain.depth)
    assert (drawn.alpha - plain.alpha).abs().mean() < 0.05


def test_white_back_fills_what_is_empty():
    options = dataclasses.replace(OPTIONS, white_back=True)
    out, plain = render_rays(sphere, *rays(), options), render_rays(sphere, *rays(), OPTIONS)
    assert torch.allclose(out.features, plain.features + (1 - plain.alpha)[..., None], atol=1e-6)


def test_gradients_reach_the_field():
    scale = torch.ones((), requires_grad=True)

    def query(points):
        sigma = 1 + 200 * (0.2 * scale - points.norm(dim=-1, keepdim=True))
        return sigma, points * scale

    render_rays(query, *rays(), OPTIONS).features.square().sum().backward()
    assert torch.isfinite(scale.grad) and scale.grad != 0


def test_depth_has_gradients_beside_empty_rays():
    scale = torch.ones((), requires_grad=True)

    def query(points):
        sigma, features = sphere(points / scale)
        return sigma, features

    draws = Draws(torch.rand(1, 144, 32), torch.rand(144, 32))
    for some in (None, draws):
        out = render_rays(query, *rays(), OPTIONS, some)
        assert bool((out.alpha == 0).any()) and bool((out.alpha > 0.5).any())
        scale.grad = None
        (out.depth * out.alpha).sum().backward()
        assert torch.isfinite(scale.grad) and scale.grad != 0


def test_crop():
    points = torch.tensor([[[0.39, 0, 0], [0.41, 0, 0], [0, 0.9, 0], [0, 0, -0.41], [0, 0, 0.4]]])
    assert crop_mask(points, OPTIONS)[0, :, 0].tolist() == [False, True, False, True, False]
    out = render_rays(lambda p: (torch.full_like(p[..., :1], 500.0), p), *rays(), OPTIONS)
    # Everything is dense, so what is seen is the cropped box: |z| up to 0.4 from the front.
    assert (out.depth - 2.3).abs().max() < 0.05


def test_weights_sum_to_alpha_and_never_exceed_one():
    generator = torch.Generator().manual_seed(1)
    depths = torch.rand(3, 7, 20, generator=generator).sort(-1)[0] + 2
    sigma = torch.randn(3, 7, 20, generator=generator) * 30
    weights, middle = interval_weights(depths, sigma)
    assert bool((weights >= 0).all()) and float(weights.sum(-1).max()) <= 1 + 1e-5
    assert bool((middle > depths[..., :-1]).all()) and bool((middle < depths[..., 1:]).all())
    composite = march(depths, sigma, torch.ones(3, 7, 20, 4))
    assert torch.allclose(composite.features, weights.sum(-1, keepdim=True).expand(3, 7, 4), atol=1e-5)
    # Opacity of a constant medium is that of the formula: 1 - exp(-softplus(sigma - 1)·length).
    constant = march(depths, torch.full_like(sigma, 2.0), torch.ones(3, 7, 20, 1)).weights.sum(-1)
    length = depths[..., -1] - depths[..., 0]
    assert torch.allclose(constant, 1 - torch.exp(-torch.nn.functional.softplus(torch.tensor(1.0)) * length), atol=1e-5)


def test_stratified_depths():
    depths = stratified_depths(2.0, 3.0, 5, None, (2, 3))
    assert depths.shape == (2, 3, 5)
    assert torch.allclose(depths[0, 0], torch.tensor([2.125, 2.375, 2.625, 2.875, 3.125]))
    disparity = stratified_depths(2.0, 4.0, 5, torch.zeros(1, 1, 5), (1, 1), disparity=True)[0, 0]
    assert torch.allclose((1 / disparity).diff(), torch.full((4,), -1 / 16), atol=1e-6)


def test_importance_samples_gather_where_the_weight_is():
    depths = torch.linspace(2, 3, 33).expand(1, 1, 33)
    weights = torch.zeros(1, 1, 32)
    weights[..., 20] = 0.9
    fine = importance_depths(depths, weights, 100, None)
    near = ((fine - 2.64).abs() < 0.07).float().mean()
    assert near > 0.7
    assert float(fine.min()) >= 2 and float(fine.max()) <= 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 3}, "samples is 3"),
        ({"near": 3.4}, "near is 3.4"),
        ({"importance": -1}, "-1"),
        ({"crop": 0.5}, "crop is 0.5"),
    ],
)
def test_bad_options(change, message):
    with pytest.raises(DualEncError, match=message):
        RenderOptions(**change)


def test_renderings_concatenate():
    one = Rendering(*(torch.zeros(1, c, 4, 4) + i for i, c in enumerate((3, 3, 1, 1))))
    both = Rendering.cat([one, one])
    assert both.image.shape == (2, 3, 4, 4) and float(both.alpha.mean()) == 3
