"""A person as planes: an untrained decoder reads them, shares sum to one, and a generator learns them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dualenc_core import Camera, PanoHead, Triplane
from dualenc_core.encoders import LiftedConfig, LiftedRefiner
from dualenc_core.encoders.unprojection import Observation
from dualenc_core.generator import GeneratorConfig, SuperResolutionConfig
from dualenc_core.people import Scene
from dualenc_core.people.part import SKIN, Part
from dualenc_core.people.relief import CHANNELS, FEATURES, relief_of, shares
from dualenc_core.rendering.rays import pixel_rays
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.research.training.relief_decoder import leave_backs, read_reliefs

from .toy import light

pytest.importorskip("embreex", reason="embreex is not installed (dualenc[people])")
SIZE, BOX = 128, 0.8


def config(**changes) -> GeneratorConfig:
    small = GeneratorConfig(
        z_dim=8,
        w_dim=16,
        plane_size=SIZE,
        features=24,
        channel_base=512,
        channel_max=16,
        neural_resolution=32,
        render=RenderOptions(samples=32, importance=32, near=2.28, far=3.12, box_warp=BOX),
        sr=SuperResolutionConfig(input_resolution=16, hidden_widths=(8, 8), w_dim=16),
    )
    return dataclasses.replace(small, **changes)


def ball(radii: tuple[float, float, float], colour: tuple[int, int, int]) -> Part:
    """An ellipsoid about the origin: heads have no edges along the axes, boxes have nothing else."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 49), np.linspace(0, np.pi, 25))
    points = np.stack([np.cos(u) * np.sin(v), np.cos(v), np.sin(u) * np.sin(v)], -1).reshape(-1, 3) * radii
    first = (np.arange(24)[:, None] * 49 + np.arange(48)).ravel()
    faces = np.concatenate([np.stack([first, first + 1, first + 50], 1), np.stack([first, first + 50, first + 49], 1)])
    texture = np.tile(np.array(colour, np.uint8), (2, 2, 1))
    return Part(points.astype(np.float32), faces, np.full((len(points), 2), 0.5, np.float32), texture, "matte", SKIN)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene([ball((0.16, 0.22, 0.19), (200, 150, 120))], light())


@pytest.fixture(scope="module")
def relief(scene):
    return relief_of(scene, SIZE, BOX)


def test_surfaces_are_where_they_are(relief):
    """Front, back, right, left, top of an ellipsoid of radii 0.16, 0.22, 0.19."""
    middle = SIZE // 2
    found = relief.surface[:, middle, middle].astype(float)
    assert found == pytest.approx(np.array([0.19, -0.19, 0.16, -0.16, 0.22]), abs=2e-3)
    assert not relief.covered[0, 0, 0] and relief.surface[0, 0, 0] == pytest.approx(-BOX / 2, abs=1e-3)


def test_a_mirrored_relief_is_that_of_the_mirrored_head():
    """A head that is wider on one side, with a red ball where only one side sees it."""

    def parts(sign: int) -> list[Part]:
        head, ear = ball((0.16, 0.22, 0.19), (200, 150, 120)), ball((0.04, 0.06, 0.05), (220, 20, 20))
        return [head, dataclasses.replace(ear, vertices=ear.vertices + np.float32([0.15 * sign, 0.02, 0.03]))]

    right, left = (relief_of(Scene(parts(sign), light()), 32, BOX) for sign in (1, -1))
    found = right.mirrored
    assert (found.covered == left.covered).mean() > 0.999
    assert np.abs(found.surface.astype(float) - left.surface)[left.covered].max() < 0.02
    assert np.abs(found.colour.astype(float) - left.colour).transpose(0, 2, 3, 1)[left.covered].mean() < 0.01
    assert np.abs(right.surface.astype(float) - left.surface)[left.covered].max() > 0.1
    # Shares are not looked for again, and are what they would be.
    expected = shares(left.surface.astype(np.float32), left.covered, BOX)
    assert "shares" in vars(found) and np.abs(found.shares.astype(float) - expected).mean() < 0.01


def test_the_sides_that_see_a_point_share_it_to_one(relief):
    """At the sides' own cells, of the points that they see well: what all of them give there."""
    found = shares(relief.surface.astype(np.float32), relief.covered, BOX)
    assert found.min() >= 0 and found.max() <= 1
    centre = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) * BOX
    row, column = SIZE // 2 + 14, SIZE // 2 + 12  # of the front: up and to the right
    x, y, z = centre[column], centre[row], float(relief.surface[0, row, column])

    def cell(value: float) -> int:
        return int((value / BOX + 0.5) * SIZE)

    total = found[0, row, column] + found[2, cell(z), cell(y)] + found[4, cell(z), cell(x)]
    assert total == pytest.approx(1, abs=0.1)


def test_what_one_side_alone_sees_is_its_own(relief):
    middle = SIZE // 2
    colour = relief.colour[0, :, middle, middle].astype(float)
    assert colour.max() > 0.3 and (np.diff(colour) < 0).all()  # all of the skin's colour: red > green > blue
    planes, weight = relief.planes(24, 3)
    grid = planes.reshape(3, 24, 3, SIZE, SIZE)
    assert torch.allclose(grid[0, :3, 1, middle, middle] / 3, torch.tensor(colour).float(), atol=2e-3)
    # The distance grows evenly from slice to slice, and features of other planes are nothing.
    steps = grid[0, CHANNELS - 1].diff(dim=0)
    assert torch.allclose(steps, steps.mean().expand_as(steps), atol=1e-3) and steps.mean() > 0
    assert grid[1, : 4 * CHANNELS].abs().max() == 0 and grid[:, FEATURES:].abs().max() == 0
    assert weight.reshape(3, 24, 3, SIZE, SIZE)[:, FEATURES:].max() == 0


def test_coarser_planes_are_averages(relief):
    fine, coarse = relief.planes(24, 3)[0], relief.planes(24, 3, coarser=2)[0]
    # Not quite where distances end, and colours fade.
    assert (torch.nn.functional.avg_pool2d(fine, 2) - coarse).abs().mean() < 5e-3


@pytest.mark.parametrize("yaw", [0.0, 50.0, 180.0, -110.0])
def test_the_decoder_reads_a_relief_without_training(scene, relief, yaw):
    generator = PanoHead(config()).eval()
    read_reliefs(generator)
    head = Triplane(relief.planes(24, 3)[0][None], torch.zeros(1, generator.config.num_ws, 16))
    camera = Camera.look_at(yaw=yaw)
    found = generator.render(head, camera, resolution=48, super_resolve=False, background=(0.5, 0.5, 0.5))
    steps = (torch.arange(48) + 0.5) / 48
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    origins, directions = pixel_rays(camera, torch.stack([columns, rows], -1).reshape(1, -1, 2))
    hits = scene.trace(origins[0].numpy(), directions[0].numpy())
    alpha = torch.from_numpy(hits.alpha).reshape(48, 48)
    assert (found.alpha[0, 0] - alpha).abs().mean() < 0.03
    colour = torch.from_numpy(hits.colour).reshape(48, 48, 3).permute(2, 0, 1)
    inside = (found.alpha[0, 0] > 0.9) & (alpha > 0.9)
    error = ((found.raw[0] + 1) / 2 - colour)[:, inside].abs()
    assert error.mean() < 0.06


def test_a_generator_learns_planes(relief):
    """The trainer's phase, on one person: the planes come nearer to the truth, and so does the decoder."""
    from dualenc_core.research.training.generator import GeneratorTrainer
    from dualenc_core.research.training.presets import GeneratorTraining
    from dualenc_core.research.training.truth import Planes, Truth

    class OnePerson:
        backdrop = (0.5, 0.5, 0.5)
        provenance = {}

        def planes(self, heads, size, config, rng):
            planes, weight = relief.planes(config.features, config.plane_depth, SIZE // size)
            uv = torch.rand(1, 64, 2, generator=rng)
            rays = pixel_rays(Camera.look_at(yaw=20.0), uv)
            grey = (
                torch.zeros(1, 64, 3),
                torch.ones(1, 64),
                torch.zeros(1, 1, 3),
                torch.zeros(1, 1),
                torch.zeros(1, 1, 3),
            )
            finest = relief.planes(config.features, config.plane_depth, SIZE // config.plane_size)[0][None]
            return Planes(torch.ones(1, 4), planes[None], weight[None], finest), Truth(torch.ones(1, 4), *rays, *grey)

    options = GeneratorTraining(
        config=config(plane_size=64),
        mapping_steps=0,
        field_steps=(),
        reliefs=True,
        plane_steps=((32, 90), (64, 6)),
        ray_steps=(),
        super_resolution_steps=0,
        plane_heads=1,
        bfloat16=False,
    )
    torch.manual_seed(0)
    trainer = GeneratorTrainer.create(options, OnePerson(), torch.Generator().manual_seed(0))
    losses = [trainer.step(i) for i in range(options.total_steps)]
    assert [trainer.phase(i)[1] for i in (0, 89, 90)] == [32, 32, 64]
    first, last = (float(losses[i]["planes.l1"]) for i in (0, 89))
    assert last < 0.7 * first
    assert float(losses[-1]["planes.decoder"]) < float(losses[0]["planes.decoder"])


def test_backs_keep_the_colours_of_stage_one():
    torch.manual_seed(0)
    refiner = LiftedRefiner(LiftedConfig(24, 3, 16, (8, 8, 8), 8, own_ends=True))
    for layer in (refiner.out, refiner.direct):
        torch.nn.init.normal_(layer.weight)
    leave_backs(refiner)
    pictures = (torch.rand(1, c, 8, 8) for c in (3, 3, 1, 1))
    view = Observation(Camera.look_at(), *pictures, torch.full((1, 1, 8, 8), 2.7))
    planes = torch.randn(1, 3, 72, 16, 16)
    before = refiner.delta([view], planes).unflatten(2, (24, 3)).detach()
    # The back's red, green and blue in the plane that front and back share, and nothing else; nor does it learn them.
    optimizer = torch.optim.Adam(refiner.parameters(), lr=0.1)
    refiner.delta([view], planes).square().sum().backward()
    optimizer.step()
    for delta in (before, refiner.delta([view], planes).unflatten(2, (24, 3)).detach()):
        assert not delta[0, 0, 4:7].any()
        delta[0, 0, 4:7] = 1
        assert delta.abs().amax(dim=(-1, -2)).all()
