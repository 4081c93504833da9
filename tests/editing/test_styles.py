"""Edits of W+ and the directions for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dualenc_core.camera import Camera
from dualenc_core.editing import (
    ball,
    edit_latent,
    load_direction,
    mix_styles,
    principal_directions,
    restyle,
    style_directions,
)
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.inversion import stitch, visibility


@pytest.fixture
def refined(heads):
    """Heads that no ws make, as encoders give them."""
    noise = torch.randn(heads[0].planes.shape, generator=torch.Generator().manual_seed(3))
    return heads[0].replace(planes=heads[0].planes + 0.1 * noise)


def test_the_same_ws_change_no_bit(tiny, refined):
    assert torch.equal(restyle(tiny, refined, refined.ws).planes, refined.planes)
    assert torch.equal(edit_latent(tiny, refined, torch.ones(16), 0.0).planes, refined.planes)
    assert torch.equal(mix_styles(tiny, refined, refined, range(6)).planes, refined.planes)


def test_other_ws_keep_what_was_added_to_the_planes(tiny, heads, refined):
    other = restyle(tiny, refined, heads[1].ws)
    assert torch.allclose(other.planes - heads[1].planes, refined.planes - heads[0].planes, atol=1e-4)
    assert torch.equal(other.ws, heads[1].ws)


def test_rows(tiny, heads):
    first, second = heads
    all_rows = mix_styles(tiny, first, second, range(6))
    assert torch.allclose(all_rows.planes, second.planes, atol=1e-4) and torch.equal(all_rows.ws, second.ws)
    late = mix_styles(tiny, first, second, [4, -1])
    assert torch.equal(late.ws[:, :4], first.ws[:, :4]) and torch.equal(late.ws[:, 4:], second.ws[:, 4:])
    assert torch.equal(mix_styles(tiny, first, second, []).planes, first.planes)
    half = mix_styles(tiny, first, second, range(6), 0.5)
    assert torch.allclose(half.ws, (first.ws + second.ws) / 2, atol=1e-6)
    assert late.meta["mix_styles"]["rows"] == [4, -1]


def test_a_direction_in_a_region(tiny, refined, blob, somewhere):
    direction = torch.randn(6, 16, generator=torch.Generator().manual_seed(4))
    whole = edit_latent(tiny, refined, direction, 0.5)
    part = edit_latent(tiny, refined, direction, 0.5, region=blob)
    inside = blob.channels(4).bool().expand(refined.planes.shape)
    assert torch.equal(part.planes[inside], whole.planes[inside])
    assert torch.equal(part.planes[~inside], refined.planes[~inside])
    assert torch.equal(part.ws, refined.ws)
    region = ball((0, 0, 0), 0.15)
    points = edit_latent(tiny, refined, direction, 0.5, region=region)
    far = somewhere.norm(dim=-1) > 0.25
    assert torch.allclose(tiny.query(points, somewhere)[1][far], tiny.query(refined, somewhere)[1][far], atol=1e-5)
    back = edit_latent(tiny, whole, direction, -0.5)
    assert torch.allclose(back.planes, refined.planes, atol=1e-4)
    one_row = edit_latent(tiny, refined, direction, 0.5, rows=[0])
    assert torch.equal(one_row.ws[:, 1:], refined.ws[:, 1:]) and not torch.equal(one_row.ws[:, 0], refined.ws[:, 0])


def test_stitched_heads_are_edited_whole(tiny, heads, refined, blob):
    head = stitch(refined, heads[1], visibility(tiny, refined, Camera.look_at(), resolution=16))
    edited = edit_latent(tiny, head, torch.ones(16), 0.3)
    change = edited.planes - head.planes
    assert torch.allclose(edited.overlays[0].planes - head.overlays[0].planes, change, atol=1e-5)
    masked = edit_latent(tiny, head, torch.ones(16), 0.3, region=blob)
    outside = ~blob.channels(4).bool().expand(head.planes.shape)
    assert torch.equal(masked.overlays[0].planes[outside], head.overlays[0].planes[outside])
    assert len(masked.overlays) == 1


def test_principal_directions_are_those_of_w(tiny):
    axes = principal_directions(tiny, 3, samples=500, seed=1)
    w = tiny.mapping(tiny.latents(1, 500))[:, 0]
    spread = torch.cov(w.T)
    lengths = axes.norm(dim=1)
    assert axes.shape == (3, 16) and bool((lengths[:-1] >= lengths[1:]).all())
    for axis, length in zip(axes, lengths, strict=True):
        unit = axis / length
        assert torch.allclose(spread @ unit, length.square() * unit, atol=1e-4)
    assert torch.equal(axes, principal_directions(tiny, 3, samples=500, seed=1))
    assert bool((axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all())


def test_style_directions_change_styles_most(tiny):
    axes = style_directions(tiny, 4)
    assert torch.allclose(axes @ axes.T, torch.eye(4), atol=1e-5)
    coarse = style_directions(tiny, 2, resolutions=(4,))
    layer = tiny.backbone.synthesis.b4.conv1.affine.weight
    rows = torch.nn.functional.normalize(layer, dim=1)
    rng = torch.Generator().manual_seed(0)
    others = torch.nn.functional.normalize(torch.randn(50, 16, generator=rng), dim=1)
    assert float((rows @ coarse[0]).norm()) >= float((rows @ others.T).norm(dim=0).max())


@pytest.mark.parametrize("shape", [(16,), (1, 16), (6, 16), (1, 6, 16)])
def test_directions_from_files(tiny, tmp_path, shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = values.reshape(-1, 16).expand(6, 16)
    np.save(tmp_path / "a.npy", values.numpy())
    save_file({"direction": values, "else": torch.zeros(2)}, tmp_path / "b.safetensors")
    save_file({"smile": values}, tmp_path / "c.safetensors")
    for name in ("a.npy", "b.safetensors", "c.safetensors"):
        assert torch.equal(load_direction(tmp_path / name, tiny), expected)


def test_bad_direction_files(tiny, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros(512, np.float32))
    np.save(tmp_path / "nan.npy", np.full(16, np.nan, np.float32))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "direction.pt").write_bytes(b"no")
    save_file({"a": torch.zeros(16), "b": torch.zeros(16)}, tmp_path / "two.safetensors")
    for name, message in (
        ("absent.npy", "does not exist"),
        ("wide.npy", "belongs to another generator"),
        ("nan.npy", "NaN"),
        ("object.npy", "cannot be read"),
        ("broken.safetensors", "cannot be read"),
        ("direction.pt", "neither .safetensors nor .npy"),
        ("two.safetensors", "none is named 'direction'"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_direction(tmp_path / name, tiny)


def test_bad_input(tiny, heads):
    first, second = heads
    for call, message in (
        (lambda: restyle(tiny, first, first.ws[:, :3]), "ws has shape"),
        (lambda: restyle(tiny, first, first.ws * float("nan")), "ws has NaN"),
        (lambda: mix_styles(tiny, first, second, [6]), "row 6 does not exist"),
        (lambda: mix_styles(tiny, first, second, [0], 2.0), "strength is 2"),
        (lambda: edit_latent(tiny, first, torch.zeros(512), 1.0), "direction has shape"),
        (lambda: principal_directions(tiny, 0), "count is 0"),
        (lambda: style_directions(tiny, 1, resolutions=(512,)), "resolutions are"),
    ):
        with pytest.raises(DualEncError, match=message):
            call()
