"""``render(quality=…)`` against the plain renderer, on a trained generator of stylised heads (real, sparse ones)."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
import torch.nn.functional as F

import dualenc_core as dc
from dualenc_core.generator import PanoHead, SuperResolutionConfig, panohead
from dualenc_core.generator import prepared as module
from dualenc_core.generator.folded import FoldedSuperResolution, _interleaved, _windows, doubling
from dualenc_core.generator.layers import fir_filter
from dualenc_core.generator.prepared import PRESETS, PreparedHead
from dualenc_core.inversion import stitch, visibility
from dualenc_core.rendering.fast import FastField
from dualenc_core.rendering.rays import camera_rays
from tests.small import small_generator
from tests.stylised import stylised_generator

SIZE = 32
# dB against the plain renderer.
EXACT = ("exact", "single use")
EXPECTED = {"exact": 100, "single use": 100, "high": 55, "draft": 38, "few drafts": 38}
# Of single rays. One that grazes the head moves the plain renderer's own opacity by 5e-4 when its origin moves by half
# of the last bit.
ALPHA = {"exact": 1e-3, "single use": 1e-3, "high": 0.1, "draft": 0.15, "few drafts": 0.15}


@pytest.fixture(scope="module")
def generator() -> PanoHead:
    return stylised_generator()


@pytest.fixture(scope="module")
def heads(generator):
    with torch.no_grad():
        return generator.synthesize(generator.mapping(generator.latents(1, 2)))


def decibels(image: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (image - other).square().mean().clamp(min=1e-14)))


@pytest.fixture(scope="module")
def stitched(generator, heads):
    mask = visibility(generator, heads[0], dc.Camera.look_at(20.0))
    return stitch(heads[0], heads[1], mask)


@torch.no_grad()
@pytest.mark.parametrize("quality", [*PRESETS, "single use", "few drafts"])
def test_pictures_equal_the_plain_ones(generator, heads, stitched, quality):
    camera = dc.Camera.look_at([0.0, 100.0, 200.0], [0.0, 20.0, -20.0])
    for head in (heads[1], stitched):
        plain = generator.render(head, camera, SIZE, quality="reference")
        fast = generator.render(head, camera, SIZE, quality=quality)
        assert decibels(fast.image, plain.image) > EXPECTED[quality]
        assert decibels(fast.raw, plain.raw) > EXPECTED[quality]
        assert (fast.alpha - plain.alpha).abs().max() < ALPHA[quality]
        solid = plain.alpha > 0.9
        assert (fast.depth - plain.depth)[solid].abs().max() < (1e-4 if quality in EXACT else 0.05)


@torch.no_grad()
def test_batches_backgrounds_and_far_cameras(generator, heads):
    camera = dc.Camera.look_at([0.0, 90.0], radius=[2.7, 2.7])
    for background in ("generator", "none", (1.0, 0.0, 0.0)):
        plain = generator.render(heads, camera, SIZE, background=background, quality="reference")
        fast = generator.render(heads, camera, SIZE, background=background, quality="exact")
        assert decibels(fast.image, plain.image) > 90
    away = dc.Camera.look_at(0.0, pivot=(40.0, 0.0, 0.0))
    empty = generator.render(heads[0], away, SIZE, quality="exact")
    assert empty.alpha.max() == 0
    assert torch.equal(empty.depth, torch.full_like(empty.depth, generator.config.render.far))


@torch.no_grad()
@pytest.mark.parametrize("quality", ["reference", "exact"])
@pytest.mark.parametrize("radius", [1.5, 4.5])
def test_a_head_is_whole_from_any_distance(generator, heads, quality, radius):
    usual = generator.render(heads[0], dc.Camera.look_at(20.0), SIZE, quality=quality)
    # A field of view under which the head is as large as from the usual distance.
    other = dc.Camera.look_at(20.0, radius=radius).zoomed(radius / 2.7)
    view = generator.render(heads[0], other, SIZE, quality=quality)
    assert view.alpha.mean() == pytest.approx(float(usual.alpha.mean()), rel=0.1)
    assert float(view.depth[view.alpha > 0.9].mean()) == pytest.approx(radius - 0.1, abs=0.1)


@torch.no_grad()
def test_fog_that_fills_the_picture_is_exact_too():
    torch.manual_seed(0)
    foggy = PanoHead(small_generator()).eval()
    head = foggy.synthesize(foggy.mapping(foggy.latents(0)))
    camera = dc.Camera.look_at([0.0, 70.0])
    assert decibels(*(foggy.render(head, camera, 16, quality=q).image for q in ("exact", "reference"))) > 90


@torch.no_grad()
def test_it_is_deterministic_and_prepared_once(generator, heads):
    camera = dc.Camera.look_at(30.0)
    first = generator.render(heads[0], camera, SIZE, quality="exact")
    kept = dict(generator._prepared.heads)
    again = generator.render(heads[0], camera, SIZE, quality="exact")
    assert torch.equal(first.image, again.image)
    assert {k: id(v) for k, v in kept.items()} == {k: id(v) for k, v in generator._prepared.heads.items()}
    generator._prepared.clear()
    assert torch.equal(generator.render(heads[0], camera, SIZE, quality="exact").image, first.image)


@torch.no_grad()
def test_a_changed_head_is_prepared_again(generator, heads):
    camera = dc.Camera.look_at(30.0)
    head = heads[0].replace(planes=heads[0].planes.clone())
    before = generator.render(head, camera, SIZE, quality="exact").image
    head.planes.add_(0.3)
    after = generator.render(head, camera, SIZE, quality="exact").image
    assert decibels(after, generator.render(head, camera, SIZE, quality="reference").image) > 90
    assert not torch.allclose(before, after, atol=1e-3)


@torch.no_grad()
def test_a_head_that_is_cropped_less_is_searched_anew(generator, heads):
    camera = dc.Camera.look_at(30.0)
    options = generator.render_options()
    for crop in (0.0, 0.25):
        other = dataclasses.replace(options, crop=crop)
        plain, fast = (
            generator.render(heads[0], camera, SIZE, super_resolve=False, options=other, quality=q)
            for q in ("reference", "exact")
        )
        assert decibels(fast.image, plain.image) > 100
        usual = generator.render(heads[0], camera, SIZE, super_resolve=False, quality="reference")
        assert crop == 0 or not torch.allclose(fast.alpha, usual.alpha, atol=0.1)


@torch.no_grad()
def test_few_heads_are_kept(generator, heads):
    for i in range(4):
        head = heads[0].replace(planes=heads[0].planes + i)
        generator.render(head, dc.Camera.look_at(0.0), 8, quality="exact")
    assert len(generator._prepared.heads) <= 2


def test_with_gradients_the_plain_renderer_runs(generator, heads):
    planes = heads[0].planes.clone().requires_grad_()
    picture = generator.render(heads[0].replace(planes=planes), dc.Camera.look_at(0.0), 8, quality="draft")
    picture.image.sum().backward()
    assert planes.grad.abs().sum() > 0


def test_an_unknown_quality_is_named(generator, heads):
    with pytest.raises(dc.DualEncError, match="quality is 'best', expected one of exact, high, draft, reference"):
        generator.render(heads[0], dc.Camera.look_at(0.0), quality="best")


@torch.no_grad()
@pytest.mark.parametrize("noise", ["none", "const"])
def test_folded_super_resolution(noise):
    torch.manual_seed(0)
    sr = SuperResolutionConfig(input_resolution=8, hidden_widths=(8, 6), w_dim=16, noise=noise)
    network = PanoHead(small_generator(sr=sr)).eval().superresolution
    for block in (network.block0, network.block1):
        for layer in (block.conv0, block.conv1):
            layer.noise_strength.fill_(0.3)
            layer.bias.normal_()
    ws = torch.randn(1, 5, 16)
    raw, features = torch.randn(2, 3, 12, 12), torch.randn(2, 4, 12, 12)
    expected = network(raw, features, ws.expand(2, -1, -1))
    assert torch.allclose(FoldedSuperResolution.of(network, ws[0, -1])(raw, features), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("place", [(0, 0), (31, 31), (13, 20), (15, 2), (None, None)])
def test_super_resolution_draws_only_what_changes(place):
    torch.manual_seed(0)
    sr = SuperResolutionConfig(input_resolution=32, hidden_widths=(8, 6), w_dim=16)
    network = PanoHead(small_generator(sr=sr)).eval().superresolution
    for block in (network.block0, network.block1):
        for layer in (block.conv0, block.conv1):
            layer.noise_strength.fill_(0.3)
            layer.bias.normal_()
    folded = FoldedSuperResolution.of(network, torch.randn(16))
    features = torch.randn(1, 4, 32, 32)
    backdrop = folded.cache(features[:, :3], features)
    row, column = place
    if row is not None:
        features = features.clone()
        features[:, :, row, column] += 5
    windows = list(_windows(features, backdrop))
    area = sum((w.bottom - w.top) * (w.right - w.left) for w in windows)
    assert area == 0 if row is None else 0 < area < 32 * 32 / 2
    raw = features[:, :3]
    assert torch.allclose(folded(raw, features, backdrop), folded(raw, features), atol=1e-5)


@torch.no_grad()
def test_frames_leave_as_they_are_made(generator, heads):
    cameras = dc.Camera.look_at([0.0, 40.0, 80.0])
    counts = []
    options = {"resolution": SIZE, "quality": "exact"}
    stream = generator.stream(heads[0], cameras, progress=lambda *done: counts.append(done), **options)
    first = next(stream)
    assert len(first.image) == 1 and counts == []
    both = torch.cat([first.image, *(frame.image for frame in stream)])
    assert counts == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(both, generator.render(heads[0], cameras, **options).image)


@torch.no_grad()
def test_memory_does_not_grow_with_the_rays(generator, heads, monkeypatch):
    chunk, asked = 256, []
    hidden = FastField.hidden
    monkeypatch.setattr(
        FastField, "hidden", lambda field, points, *out: asked.append(len(points)) or hidden(field, points, *out)
    )
    options = {"super_resolve": False, "quality": "exact"}
    camera = dc.Camera.look_at(20.0)
    largest = {}
    for size, rays in ((64, chunk), (128, chunk), (64, 64 * 64)):
        generator.render(heads[0], camera, 8, **options)
        asked.clear()
        generator.render(heads[0], camera, size, chunk=rays, **options)
        largest[size, rays] = max(asked)
    most = chunk * max(generator.config.render.samples, generator.config.render.importance)
    assert largest[64, chunk] <= most and largest[128, chunk] <= most
    assert largest[64, 64 * 64] > most


def test_solid_density_is_the_density_where_there_is_any(generator, heads, stitched):
    points = torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(0)) * 0.8 - 0.4
    for head in (heads[1], stitched):
        with torch.no_grad():
            true = generator.query(head, points)[0]
            found = generator.solid_density(head)(points)
        assert found.shape == true.shape == (1, 4000, 1)
        looked = found > -999
        assert 0.05 < looked.float().mean() < 0.95
        # Weights that are nearly 0 or 1 are rounded; densities go up to a hundred.
        assert (found - true)[looked].abs().max() < 0.02
        # What was not looked at would not show.
        assert true[~looked].max() < -4
    with pytest.raises(ValueError, match="expected one"):
        generator.solid_density(heads)


def test_a_field_of_its_own_is_asked_itself(generator, heads):
    class Ball(PanoHead):
        def _decode(self, planes, points):
            density = 100 * (0.1 - points.norm(dim=-1, keepdim=True))
            return density, torch.ones(*points.shape[:2], self.config.features)

    ball = Ball(generator.config).eval()
    head = heads[0].replace(generator="")
    with torch.no_grad():
        inside = ball.solid_density(head)(torch.zeros(1, 1, 3))
        view = ball.render(head, dc.Camera.look_at(), SIZE, super_resolve=False, quality="exact")
    assert inside.item() == pytest.approx(10)
    assert view.alpha[0, 0, SIZE // 2, SIZE // 2] > view.alpha[0, 0, 0, 0]


@torch.no_grad()
def test_rays_of_a_batch(generator, heads):
    origins, directions = camera_rays(dc.Camera.look_at([0.0, 90.0]), 16)
    seen = []
    plain = generator.render_rays(heads, origins, directions)
    fast = generator.render_rays(heads, origins, directions, progress=lambda *n: seen.append(n), quality="exact")
    # As the plain renderer, which takes the rays of all heads side by side.
    assert seen == [(128, 256), (256, 256)]
    assert torch.allclose(fast.features, plain.features, atol=1e-4)
    assert torch.allclose(fast.alpha, plain.alpha, atol=1e-4)
    solid = plain.alpha > 0.9
    assert solid.any() and (fast.depth - plain.depth)[solid].abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_doubling_as_one_convolution(layout):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 5, 9, dtype=torch.float64), torch.randn(8, 6, 3, 3, dtype=torch.float64)
    taps = fir_filter().double() * 4
    wide = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    expected = F.conv2d(wide, taps.expand(8, 1, 4, 4), padding=1, groups=8)
    phases = F.conv2d(x, doubling(weight, taps), padding=1).contiguous(memory_format=layout)
    result = _interleaved(phases)
    assert torch.allclose(result, expected, atol=1e-12)
    assert result.is_contiguous(memory_format=layout)


@torch.no_grad()
def test_frames_drawn_together_are_those_drawn_alone(generator, heads, monkeypatch):
    cameras = dc.Camera.look_at([0.0, 40.0, 80.0, 120.0, 160.0], radius=[2.7, 2.7, 2.7, 3.5, 3.5])
    options = {"resolution": SIZE, "quality": "exact"}
    alone = generator.render(heads[0], cameras, **options)
    drawn = []
    draw = PreparedHead.paint
    monkeypatch.setattr(PreparedHead, "paint", lambda head, v, *more: drawn.append(len(v)) or draw(head, v, *more))
    monkeypatch.setattr(panohead, "frames_at_once", lambda device: 4)
    counts = []
    together = generator.render(heads[0], cameras, progress=lambda *done: counts.append(done), **options)
    # Cameras at other distances have other samples.
    assert drawn == [3, 2] and counts == [(3, 5), (5, 5)]
    for name in ("image", "raw", "depth", "alpha"):
        assert decibels(getattr(together, name), getattr(alone, name)) > 90
    drawn.clear()
    streamed = list(generator.stream(heads[0], cameras, **options))
    # The first leaves at once.
    assert drawn == [1, 2, 2] and [len(view) for view in streamed] == [1] * 5
    assert decibels(torch.cat([view.image for view in streamed]), alone.image) > 90
    drawn.clear()
    generator.render(heads[0], cameras, chunk=SIZE**2 * 2, **options)
    assert drawn == [2, 1, 2]


@torch.no_grad()
@pytest.mark.parametrize("quality", PRESETS)
def test_small_pictures_need_no_field_where_the_plain_renderer_is_faster(generator, stitched, monkeypatch, quality):
    monkeypatch.setattr(module, "plain_is_faster", lambda device, lookups: lookups <= 2 * SIZE**2 * 48)
    monkeypatch.setattr(generator, "_prepared", module.PreparedHeads())
    camera = dc.Camera.look_at([20.0, 160.0])
    small = torch.cat([generator.render(stitched, c, SIZE, quality=quality).raw for c in (camera[0], camera[1])])
    (_, head), *_ = generator._prepared.heads.values()
    assert "field" not in vars(head)
    plain = generator.render(stitched, camera, SIZE, quality="reference").raw
    # Only the number of samples is the preset's.
    assert decibels(small, plain) > (100 if quality != "draft" else 45)
    larger = generator.render(stitched, camera[0], SIZE + 2, quality=quality).raw
    assert "field" in vars(head)
    plain = generator.render(stitched, camera[0], SIZE + 2, quality="reference").raw
    assert decibels(larger, plain) > {"exact": 100, "high": 45, "draft": 36}[quality]


def test_what_cuda_asks_of_the_plain_renderer():
    assert module.plain_is_faster(torch.device("cuda"), 128**2 * 96)
    assert not module.plain_is_faster(torch.device("cuda"), 8 * 64**2 * 96)
    assert not module.plain_is_faster(torch.device("cpu"), 1)


@torch.no_grad()
def test_prepared_heads_do_not_travel(generator, heads):
    generator.render(heads[0], dc.Camera.look_at(), 8, quality="exact", super_resolve=False)
    assert generator._prepared.heads
    other = copy.deepcopy(generator)
    assert not other._prepared.heads and other._prepared.kept == generator._prepared.kept
    assert len(pickle.dumps(generator._prepared)) < 200


def test_plain_python_is_fast_and_keeps_no_graph(generator, heads, monkeypatch):
    """Without torch.no_grad() as in any script: the fast renderer, the same bytes, unless gradients are asked for."""
    triplane, camera = heads[0], dc.Camera.look_at([0.0, 40.0])
    with torch.no_grad():
        quiet = generator.render(triplane, camera, resolution=16)
    made = []
    found = module.PreparedHeads.get
    monkeypatch.setattr(module.PreparedHeads, "get", lambda self, *given: made.append(1) or found(self, *given))
    loud = generator.render(triplane, camera, resolution=16)
    assert made and not loud.image.requires_grad and torch.equal(loud.image, quiet.image)
    made.clear()
    for asked in ("planes", "ws"):
        inputs = triplane.replace(**{asked: getattr(triplane, asked).clone().requires_grad_()})
        out = generator.render(inputs, camera[[0]], resolution=16)
        out.image.square().mean().backward()
        assert not made and getattr(inputs, asked).grad.abs().sum() > 0
    trained = copy.deepcopy(generator)
    trained.decoder.requires_grad_(True)
    assert trained.render(triplane, camera[[0]], resolution=16).image.requires_grad and not made
