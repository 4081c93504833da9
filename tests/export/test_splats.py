"""Splats of shapes that are known: where they lie, what they show, what the files hold."""

from __future__ import annotations

import gzip
import json
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from dualenc_core.camera import METRES_PER_UNIT, Camera
from dualenc_core.errors import DualEncError
from dualenc_core.export import Splats, bake_splats, render_splats, save_splats
from dualenc_core.export.splat_bake import SPREAD
from dualenc_core.export.splat_raster import LOW_PASS, OPAQUEST, shares
from dualenc_core.export.splats import rotation_matrices, towards
from dualenc_core.export.surfels import Lattice, SurfaceField, surfels
from tests.benchmarks.meshes import FieldGenerator
from tests.benchmarks.splats import held_out_cameras, likeness

from .conftest import RADII, ball, ellipsoid, ellipsoid_normals


def one(position=(0.0, 0.0, 0.0), scale=0.02, opacity=0.8, colour=(1.0, 0.5, 0.0), **changes) -> Splats:
    """A round splat."""
    scales = torch.tensor([scale] * 3 if isinstance(scale, float) else scale)[None]
    values = torch.tensor(position)[None], scales, torch.tensor([[1.0, 0, 0, 0]])
    return Splats(*values, torch.tensor([opacity]), torch.tensor(colour)[None]).replace(**changes)


def joined(*splats: Splats) -> Splats:
    names = ("positions", "scales", "rotations", "opacities", "colours")
    return Splats(*(torch.cat([getattr(s, name) for s in splats]) for name in names))


@pytest.fixture(scope="module")
def egg_splats(egg, egg_views) -> Splats:
    return bake_splats(*egg, count=20_000, views=egg_views, coarse=48)


# ----------------------------------------------------------------------------------------------------------- rasteriser


def test_a_round_splat_is_a_bell_where_the_camera_projects_it() -> None:
    splat, camera = one((0.03, -0.02, 0.05)), Camera.look_at(30.0, 10.0)
    picture, alpha = render_splats(splat, camera, 128)
    uv, depth = camera.project(splat.positions[None])
    centre = uv[0, 0] * 128
    variance = (0.02 * float(camera.intrinsics[0, 0, 0]) * 128 / float(depth)) ** 2 + LOW_PASS
    y, x = torch.meshgrid(*(torch.arange(128) + 0.5,) * 2, indexing="ij")
    expected = 0.8 * torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * variance))
    # Away from the middle of the picture a ball looks a little longer than round.
    assert float((alpha[0, 0] - expected).abs().max()) < 0.02
    assert torch.allclose(picture[0], alpha[0] * torch.tensor([1.0, 0.5, 0.0])[:, None, None])


def test_the_nearer_splat_hides_the_other_whatever_their_order() -> None:
    red, blue = one((0, 0, 0.1), opacity=0.99, colour=(1.0, 0, 0)), one((0, 0, -0.1), 0.04, colour=(0.0, 0, 1.0))
    for splats in (joined(red, blue), joined(blue, red)):
        front, alpha = render_splats(splats, Camera.look_at(0.0), 64)
        back, _ = render_splats(splats, Camera.look_at(180.0), 64)
        assert float(front[0, 0, 32, 32]) > 0.9 and float(front[0, 2, 32, 32]) < 0.08
        assert float(back[0, 2, 32, 32]) > 0.7
        # What the red one lets through, the blue one takes its part of.
        assert float(alpha[0, 0, 32, 32]) == pytest.approx(float(front[0, [0, 2], 32, 32].sum()), abs=1e-5)


def test_a_flat_splat_is_thin_from_its_side() -> None:
    flat = one(scale=(0.04, 0.04, 0.001), rotations=towards(torch.tensor([[1.0, 0.0, 0.0]])))
    _, along = render_splats(flat, Camera.look_at(90.0), 64)
    _, side = render_splats(flat, Camera.look_at(0.0), 64)
    assert float(along.sum()) > 5 * float(side.sum())
    assert float(side[0, 0, 26:38, 32].min()) > 0.1 > float(side[0, 0, 32, :28].max()), "it stands upright"


def test_light_is_shared_out_once() -> None:
    generator = torch.Generator().manual_seed(0)
    many = joined(*(one(tuple((torch.rand(3, generator=generator) - 0.5) * 0.3)) for _ in range(60)))
    for bands in (1 << 21, 500):
        parts = list(shares(many, Camera.look_at(20.0), 48, pairs=bands))
        total = torch.zeros(48 * 48)
        for part in parts:
            assert bool((part.pixel.diff() >= 0).all()) and float(part.weight.min()) >= 0
            total.index_add_(0, part.pixel, part.weight)
        assert (len(parts) > 5) == (bands == 500)
        picture, alpha = render_splats(many, Camera.look_at(20.0), 48, background=1.0)
        assert torch.allclose(total, alpha.flatten(), atol=1e-6) and float(total.max()) <= 1 + 1e-6
    assert torch.allclose(picture[0, 0], torch.ones(48, 48), atol=1e-5), "red splats before white"


def test_what_is_behind_the_camera_or_beside_the_picture_is_not_drawn() -> None:
    for place in ((0.0, 0.0, 5.0), (0.0, 0.0, 2.699), (2.0, 0.0, 0.0)):
        assert float(render_splats(one(place), Camera.look_at(), 32)[1].max()) == 0
    with pytest.raises(DualEncError, match="scales have shape"):
        one(scales=torch.ones(2, 3))


def test_rotations() -> None:
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    normals = torch.cat([normals, torch.eye(3), -torch.eye(3)])
    quaternions = towards(normals)
    assert torch.allclose(quaternions.norm(dim=-1), torch.ones(len(normals)), atol=1e-6)
    matrices = rotation_matrices(quaternions)
    assert torch.allclose(matrices[..., 2], normals, atol=1e-5)
    assert torch.allclose(torch.linalg.det(matrices), torch.ones(len(normals)), atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- surfels


def test_surfels_lie_on_the_surface_evenly(egg) -> None:
    field = SurfaceField(*egg, None, 1 << 16)
    lattice = Lattice.over(egg[0].config.render, 0.01)
    found = surfels(field, lattice, lattice.cells())
    assert float(ellipsoid(found.points).abs().max()) < 2e-4
    assert float((found.normals * ellipsoid_normals(found.points)).sum(-1).min()) > 0.99
    # Thomsen's formula for the surface of an ellipsoid, within 1 %.
    a, b, c = (RADII**1.6075).tolist()
    area = 4 * math.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075)
    # Where cells meet, a few points are there twice.
    assert float(found.area.sum()) == pytest.approx(area, rel=0.08)
    gaps = torch.cdist(ellipsoid_points(2000), found.points).amin(-1)
    assert float(gaps.max()) < 0.01, "a hole"


def ellipsoid_points(count: int) -> torch.Tensor:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return points / (points / RADII).norm(dim=-1, keepdim=True)


def test_the_surface_is_closed_where_the_renderer_crops() -> None:
    """A ball larger than the cropped box, cut flat on four sides."""
    generator, triplane = FieldGenerator.build(ball((0.0, 0.0, 0.0), 0.34))
    field = SurfaceField(generator, triplane, None, 1 << 16)
    lattice = Lattice.over(generator.config.render, 0.02)
    found = surfels(field, lattice, lattice.cells())
    cut = (found.points[:, 0] - 0.3).abs() < 1e-3
    assert int(cut.sum()) > 50 and bool((found.normals[cut][:, 0] > 0.7).float().mean() > 0.9)
    assert float(found.points[:, [0, 2]].abs().max()) < 0.301


# ---------------------------------------------------------------------------------------------------------------- bake


def test_splats_of_an_ellipsoid_look_like_it_from_new_sides(egg, egg_splats) -> None:
    found = likeness(*egg, egg_splats, held_out_cameras(3), side=256)
    assert min(found.psnr) > 33, found.psnr
    assert found.holes == 0 and found.halo < 0.01
    # Grey ones would not do.
    plain = egg_splats.replace(colours=torch.full_like(egg_splats.colours, 0.5))
    assert max(likeness(*egg, plain, held_out_cameras(3), side=64).psnr) < 25


def test_splats_lie_flat_on_the_surface(egg_splats) -> None:
    assert 17_000 < len(egg_splats) <= 20_000
    depth = ellipsoid(egg_splats.positions)
    spacing = egg_splats.scales[:, :1].mean() / SPREAD
    assert float(depth.max()) < 1e-3 and float(depth.min()) > -4 * float(spacing), "drawn in by a few cells at most"
    axes = rotation_matrices(egg_splats.rotations)
    assert float((axes[..., 2] * ellipsoid_normals(egg_splats.positions)).sum(-1).min()) > 0.97
    assert bool((egg_splats.scales[:, 2] < egg_splats.scales[:, :2].amin(-1)).all()), "the shortest axis is the normal"
    assert float(egg_splats.opacities.median()) > 0.9 and float(egg_splats.opacities.max()) <= OPAQUEST + 1e-6


def test_hollows_have_no_splats(egg, egg_views, egg_splats) -> None:
    """A bubble inside is not seen from anywhere."""
    bubble = ball((0.0, 0.0, 0.0), 0.07)
    generator, triplane = FieldGenerator.build(lambda p: torch.maximum(ellipsoid(p), -bubble(p)))
    found = bake_splats(generator, triplane, count=20_000, views=egg_views, coarse=48)
    assert float(found.positions.norm(dim=-1).min()) > 0.1
    assert abs(len(found) - len(egg_splats)) < 0.05 * len(egg_splats)


def test_the_same_head_gives_the_same_splats(egg, egg_views, egg_splats) -> None:
    again = bake_splats(*egg, count=20_000, views=egg_views, chunk=30_011, coarse=48)
    assert len(again) == len(egg_splats)
    assert torch.allclose(again.positions, egg_splats.positions, atol=1e-5)


def test_thin_fog_becomes_faint_splats(egg, egg_views) -> None:
    """Opacity is what the views see of it, not what the density says."""
    faint = replace(egg_views.visible, alpha=egg_views.visible.alpha * 0.7)
    splats = bake_splats(*egg, count=3000, views=replace(egg_views, visible=faint), coarse=48)
    assert float(splats.opacities.max()) < 0.75
    alpha = render_splats(splats, Camera.look_at(), 256)[1]
    # From the front and through the back.
    assert float(alpha[0, 0, 112:144, 112:144].mean()) == pytest.approx(1 - 0.3**2, abs=0.05)


def test_a_head_that_no_view_shows_is_refused(real) -> None:
    """Random weights make a haze, in which there is nothing to take a colour from."""
    generator, triplane = real
    inside, _ = generator.query(triplane, torch.zeros(1, 1, 3))
    with pytest.raises(DualEncError, match="no view shows the head"):
        bake_splats(generator, triplane, 3000, float(inside) - 0.05, coarse=16)


def test_wrong_input_is_refused(egg, egg_views) -> None:
    generator, triplane = egg
    with pytest.raises(DualEncError, match="count is 10"):
        bake_splats(generator, triplane, 10, views=egg_views)
    with pytest.raises(DualEncError, match="no surface at this density"):
        bake_splats(generator, triplane, threshold=1e6, views=egg_views, coarse=16)
    with pytest.raises(DualEncError, match="threshold is nan"):
        bake_splats(generator, triplane, threshold=float("nan"), views=egg_views)
    two = triplane.replace(planes=triplane.planes.repeat(2, 1, 1, 1, 1), ws=triplane.ws.repeat(2, 1, 1))
    with pytest.raises(DualEncError, match="2 heads"):
        bake_splats(generator, two, views=egg_views)


# --------------------------------------------------------------------------------------------------------------- files


def read_ply(content: bytes) -> tuple[dict[str, np.ndarray], str]:
    head, _, body = content.partition(b"end_header\n")
    lines = head.decode().splitlines()
    names = [line.split()[-1] for line in lines if line.startswith("property float")]
    count = int(next(line for line in lines if line.startswith("element vertex")).split()[-1])
    assert len(body) == count * len(names) * 4
    comment = "".join(line[len("comment dualenc: ") :] for line in lines if line.startswith("comment"))
    table = np.frombuffer(body, "<f4").reshape(count, -1)
    return dict(zip(names, table.T, strict=True)), comment


def tilted() -> Splats:
    """Two splats that differ in everything."""
    first = one((0.1, 0.2, -0.05), (0.01, 0.02, 0.003), 0.9, (0.2, 0.4, 0.6), rotations=towards(unit(1.0, 2.0, 3.0)))
    second = one((-0.3, 0.0, 0.25), (0.004, 0.05, 0.02), 0.3, (1.0, 0.0, 0.5), rotations=towards(unit(-1.0, 0.5, -2.0)))
    return joined(first, second).replace(meta={"generator": "abc"})


def unit(*values: float) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor([values]), dim=-1)


def decoded(columns: dict[str, np.ndarray]) -> Splats:
    """As the programs of 3D Gaussian Splatting read it."""

    def stack(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([columns[name] for name in names], axis=-1).copy())

    colours = 0.5 + 0.28209479177387814 * stack("f_dc_0", "f_dc_1", "f_dc_2")
    quaternions = torch.nn.functional.normalize(stack("rot_0", "rot_1", "rot_2", "rot_3"), dim=-1)
    scales = stack("scale_0", "scale_1", "scale_2").exp()
    opacities = torch.sigmoid(torch.from_numpy(columns["opacity"].copy()))
    return Splats(stack("x", "y", "z"), scales, quaternions, opacities, colours)


def covariances(splats: Splats) -> torch.Tensor:
    spread = rotation_matrices(splats.rotations) * splats.scales[:, None]
    return spread @ spread.transpose(1, 2)


def test_a_ply_is_the_same_splats_with_y_down_in_metres(tmp_path) -> None:
    splats = tilted()
    path = save_splats(splats, tmp_path / "new" / "head.ply")
    columns, comment = read_ply(path.read_bytes())
    back, flip = decoded(columns), torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    assert torch.allclose(back.positions, splats.positions @ flip * METRES_PER_UNIT, atol=1e-6)
    assert torch.allclose(covariances(back), flip @ covariances(splats) @ flip * METRES_PER_UNIT**2, atol=1e-9)
    assert torch.allclose(back.colours, splats.colours, atol=1e-6)
    assert torch.allclose(back.opacities, splats.opacities, atol=1e-6)
    said = json.loads(comment)
    assert said["generator"] == "abc" and said["metres_per_unit"] == METRES_PER_UNIT
    assert save_splats(splats, tmp_path / "again.ply").read_bytes() == path.read_bytes()


def test_an_spz_says_the_same_up_to_its_steps(tmp_path) -> None:
    splats = tilted()
    raw = gzip.decompress(save_splats(splats, tmp_path / "head.spz").read_bytes())
    magic, version, count, degree, fraction, _, _ = struct.unpack_from("<IIIBBBB", raw)
    assert (magic, version, count, degree) == (0x5053474E, 2, 2, 0) and len(raw) == 16 + 19 * count
    body = np.frombuffer(raw, np.uint8, offset=16)
    parts = np.split(body, np.cumsum([9 * count, count, 3 * count, 3 * count]))
    low = parts[0].reshape(count, 3, 3).astype(np.int64) @ [1, 256, 65536]
    positions = torch.from_numpy(np.where(low >= 1 << 23, low - (1 << 24), low) / 2**fraction).float()
    opacities = torch.from_numpy(parts[1] / 255).float()
    colours = torch.from_numpy((parts[2].reshape(count, 3) / 255 - 0.5) / 0.15).float() * 0.28209479177387814 + 0.5
    scales = torch.from_numpy(np.exp(parts[3].reshape(count, 3) / 16 - 10)).float()
    xyz = torch.from_numpy(parts[4].reshape(count, 3) / 127.5 - 1).float()
    w = (1 - xyz.square().sum(-1, keepdim=True)).clamp(min=0).sqrt()
    back = Splats(positions, scales, torch.cat([w, xyz], -1), opacities, colours)
    exact = decoded(read_ply(save_splats(splats, tmp_path / "head.ply").read_bytes())[0])
    assert torch.allclose(back.positions, exact.positions, atol=2e-5)
    assert torch.allclose(back.opacities, exact.opacities, atol=0.003)
    assert torch.allclose(back.colours, exact.colours, atol=0.005)
    error = (covariances(back) - covariances(exact)).flatten(1).norm(dim=1) / covariances(exact).flatten(1).norm(dim=1)
    assert float(error.max()) < 0.12


def test_files_of_wrong_splats_are_not_written(tmp_path) -> None:
    splats = tilted()
    with pytest.raises(DualEncError, match="must end in .ply or .spz"):
        save_splats(splats, tmp_path / "head.glb")
    broken = splats.replace(scales=torch.full((2, 3), float("nan")))
    with pytest.raises(DualEncError, match="scales have NaN"):
        save_splats(broken, tmp_path / "head.ply")
    names = ("positions", "scales", "rotations", "opacities", "colours")
    empty = Splats(*(getattr(splats, name)[:0] for name in names))
    with pytest.raises(DualEncError, match="no splats"):
        save_splats(empty, tmp_path / "head.ply")
    assert list(tmp_path.iterdir()) == []
