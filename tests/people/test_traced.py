"""Traced people on disk, and what trainings read from them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dualenc_core import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.people import FAR, numbers, people_from_latent
from dualenc_core.people import people as people_module
from dualenc_core.people import shards as shards_module
from dualenc_core.people.person import latent_of
from dualenc_core.people.shards import DEPTH_SIZE, ViewPlan, make_record, make_shards, read_record
from dualenc_core.people.traits import trait_names
from dualenc_core.rendering.rays import pixel_rays
from dualenc_core.research.training.presets import people_generator_config
from dualenc_core.research.training.truth_people import PeopleTruth
from dualenc_core.research.training.views import placed, view_rays
from dualenc_core.research.training.views_people import PeopleViews

from .toy import light, parts

pytest.importorskip("embreex", reason="embreex is not installed (dualenc[people])")
PLAN = ViewPlan(front=2, around=1, photos=0, small=2, large_size=256, small_size=128)


class NoPack:
    provenance = [{"files": "toys", "licence": "CC0"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people_module, "parts_of", lambda pack, person, held_out=False: parts())
        for module in (people_module, shards_module):
            patch.setattr(module, "light_of", lambda pack, person: light())
        found = tmp_path_factory.mktemp("traced")
        assert make_shards(found, NoPack(), 3, plan=PLAN) == 3
        record = make_record(NoPack(), 0, 1, PLAN)
        kept = read_record(found / "000001.npz")
        assert record.colour == kept.colour and (record.depth == kept.depth).all()
        # Only what is missing is made.
        (found / "000002.npz").unlink()
        assert make_shards(found, NoPack(), 3, first=0, step=2, plan=PLAN) == 1
    latents = np.stack([latent_of(9, i) for i in range(64)])
    table = np.stack([numbers(p, np.zeros(30)) for p in people_from_latent(latents)])
    np.savez(found / "descriptions.npz", latents=latents.astype(np.float32), numbers=table)
    return found


def test_a_record_has_pictures_of_the_right_places(folder):
    record = read_record(folder / "000000.npz")
    assert record.large == 3 and len(record.labels) == 5 and len(record.numbers) == len(trait_names())
    sizes = [len(record.view(i)[0]) for i in range(5)]
    assert sizes == [256, 256, 256, 128, 128]
    yaw, pitch = Camera.from_label(torch.from_numpy(record.labels)).angles
    assert (yaw[:2].abs() <= 65.01).all() and (pitch.abs() <= 35.01).all()
    for i in range(5):
        colour, alpha = record.view(i)
        # JPEG rings a little beside edges.
        assert (np.abs(colour[alpha == 0].astype(int) - 128) <= 4).mean() > 0.97
        seen = record.distance(i).reshape(DEPTH_SIZE, DEPTH_SIZE) < FAR
        step = len(alpha) // DEPTH_SIZE
        assert (seen == (alpha[::step, ::step] > 127)).mean() > 0.97


def test_depth_belongs_to_the_middle_of_its_cell(folder):
    record = read_record(folder / "000000.npz")
    steps = (torch.arange(DEPTH_SIZE) + 0.5) / DEPTH_SIZE
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    uv = torch.stack([columns, rows], -1).reshape(1, -1, 2)
    camera = Camera.from_label(torch.from_numpy(record.labels[[0]]))
    origins, directions = pixel_rays(camera, uv)
    from dualenc_core.people import Scene

    truth = Scene(parts(), light()).trace(origins[0].numpy(), directions[0].numpy())
    assert np.abs(truth.depth - record.distance(0)).max() < 1e-3


def test_a_mirrored_record_is_what_mirrored_cameras_see(folder):
    record = read_record(folder / "000000.npz")
    mirrored = record.mirrored
    for i in (0, 4):
        assert all((a[:, ::-1] == b).all() for a, b in zip(record.view(i), mirrored.view(i), strict=True))
        rows = (d.distance(i).reshape(DEPTH_SIZE, DEPTH_SIZE) for d in (record, mirrored))
        assert (next(rows)[:, ::-1] == next(rows)).all()
    before, after = (torch.stack(Camera.from_label(torch.from_numpy(r.labels)).angles) for r in (record, mirrored))
    assert torch.allclose(after, before * torch.tensor([[-1.0], [1.0]]), atol=1e-3)
    assert (mirrored.mirrored.labels == record.labels).all() and not mirrored.mirrored.flipped


def test_nobody_knows_the_descriptions_of_mirrored_people(folder):
    def batch(mirror: float):
        return PeopleViews(PeopleTruth(folder), mirror).batch(2, 64, 1, False, torch.Generator().manual_seed(3))

    plain, mirrored = batch(0.0), batch(1.0)
    assert plain.numbers.isfinite().all() and mirrored.numbers.isnan().all()
    # The same dice: where cameras really were, but for the side.
    yaws = (b.views[0].camera.angles[0] for b in (plain, mirrored))
    assert torch.allclose(next(yaws), -next(yaws), atol=1e-3)
    views = PeopleViews(PeopleTruth(folder), 1.0)
    assert views.photos(2, 32, torch.Generator().manual_seed(2))[1].isfinite().all()


def test_broken_files_are_named(folder, tmp_path):
    (tmp_path / "000000.npz").write_bytes((folder / "000000.npz").read_bytes()[:1000])
    with pytest.raises(DualEncError, match="not a traced person"):
        read_record(tmp_path / "000000.npz")
    with pytest.raises(DualEncError, match="people trace"):
        PeopleTruth(tmp_path / "empty")


def test_people_with_other_traits_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps(about | {"traits": about["traits"][1:]}))
    with pytest.raises(DualEncError, match="other traits"):
        PeopleTruth(tmp_path)


def test_rays_and_points_agree_with_the_surface(folder):
    truth = PeopleTruth(folder)
    found = truth.rays(4, 96, 128, torch.Generator().manual_seed(0), rendered=True)
    again = truth.rays(4, 96, 128, torch.Generator().manual_seed(0), rendered=True)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert found.numbers.shape == (4, len(truth.standardised.names))
    assert found.rgb.shape == (4, 96, 3) and found.alpha.shape == (4, 96)
    # Where nothing is, the backdrop.
    assert found.rgb[found.alpha == 0].abs().max() < 0.08
    # Points inside of the boxes are behind surfaces, points outside are not.
    p = found.points
    head = ((p - p.new_tensor([0.0, 0.0, 0.075])).abs() < p.new_tensor([0.119, 0.199, 0.074])).all(-1)
    cap = ((p - p.new_tensor([0.0, 0.075, -0.1])).abs() < p.new_tensor([0.129, 0.174, 0.099])).all(-1)
    inside = head | cap
    assert inside.any() and (found.distance[inside] < 0).all()
    far = found.distance > 0.02
    assert far.any() and not inside[far].any()


def test_patches_are_cut_where_they_say(folder):
    truth = PeopleTruth(folder)
    config = dataclasses.replace(people_generator_config(), neural_resolution=64)
    patches = truth.patches(3, 16, 2, config, torch.Generator().manual_seed(1))
    assert patches.target.shape == (3, 3, 64, 64) and patches.corner.max() <= 48
    assert patches.planes.shape == (3, 3, config.plane_channels, 128, 128) and patches.planes.any()
    with pytest.raises(DualEncError, match="pictures of 256 pixels, the generator makes 512"):
        truth.patches(1, 16, 2, people_generator_config(), torch.Generator().manual_seed(1))


def test_photos_and_views(folder):
    views = PeopleViews(PeopleTruth(folder))
    images, description = views.photos(3, 32, torch.Generator().manual_seed(2))
    assert images.shape == (3, 3, 32, 32) and images.abs().max() <= 1 and len(description) == 3
    batch = views.batch(2, 64, 2, False, torch.Generator().manual_seed(3))
    assert batch.images.shape == (2, 3, 64, 64) and batch.mattes.shape == (2, 1, 64, 64) and len(batch.views) == 3
    assert batch.views[0].hidden.max() == 0
    again = views.batch(2, 64, 2, False, torch.Generator().manual_seed(3))
    assert torch.equal(batch.images, again.images)


def test_what_the_photo_does_not_show_is_hidden(folder):
    views = PeopleViews(PeopleTruth(folder))
    for seed in range(12):
        batch = views.batch(1, 64, 1, False, torch.Generator().manual_seed(seed))
        apart = F.cosine_similarity(batch.views[0].camera.position, batch.views[1].camera.position)
        alpha = F.adaptive_avg_pool2d(batch.views[1].alpha, DEPTH_SIZE)
        share = float((batch.views[1].hidden * alpha).sum() / alpha.sum())
        assert share < 0.35 if apart > 0.94 else share > 0.75 if apart < -0.7 else True


def test_known_heads_count_what_the_photo_shows(folder):
    views = PeopleViews(PeopleTruth(folder))
    config = people_generator_config()
    batch = views.known(2, 64, 2.0, 0.0, config, torch.Generator().manual_seed(3))
    assert batch.images.shape == (2, 3, 64, 64) and batch.mattes.shape == (2, 1, 64, 64)
    assert batch.planes.shape == batch.weight.shape == (2, 3, 72, 128, 128)
    sides = batch.weight.reshape(2, 3, 24, 3, 128, 128)[:, 0, :, 1]
    # Red as the front and as the back sees it: a photo from the front shows one of them.
    front, back = (sides[:, 4 * k, 40:90, 40:90].mean((1, 2)) for k in (0, 1))
    assert (front > 4 * back).all()
    other = dataclasses.replace(config, render=dataclasses.replace(config.render, box_warp=1.0))
    with pytest.raises(DualEncError, match="in a box of 1.0 cannot be made"):
        views.known(2, 64, 2.0, 0.0, other, torch.Generator())


def test_placed_heads_look_like_the_warped_picture():
    """The same points: seen by the true camera and warped, or placed and seen by the believed one."""
    true, believed = Camera.look_at([20.0, -40.0], [5.0, -10.0]), Camera.look_at([22.0, -43.0], [1.0, -4.0])
    zoom, shift = torch.tensor([1.06, 0.95]), torch.tensor([[0.02, -0.01], [-0.015, 0.03]])
    placement = placed(true, believed, zoom, shift)
    points = (torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.4
    moved = zoom[:, None, None] * torch.einsum("nij,npj->npi", placement.turn, points) + placement.shift[:, None]
    seen, _ = true.project(points)
    warped = zoom[:, None, None] * (seen - 0.5) + 0.5 + shift[:, None]
    found, _ = believed.project(moved)
    # A zoom is not quite a step forward.
    assert (found - warped).abs().max() < 0.006
    uv = torch.rand(2, 40, 2, generator=torch.Generator().manual_seed(1))
    origins, directions = view_rays(true, placement, uv)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(2, 40), atol=1e-5)
    nearest = -(origins * directions).sum(-1)
    assert torch.allclose(nearest, torch.full((2, 40), 2.7), atol=1e-4)
    plain = pixel_rays(true, uv)
    same = dataclasses.replace(
        placement, scale=torch.ones(2), turn=torch.eye(3).expand(2, 3, 3), shift=torch.zeros(2, 3)
    )
    assert torch.allclose(same.rays(*plain)[1], plain[1])
