"""Edit and mesh nodes, on heads of the bundled generator."""

from __future__ import annotations

import importlib

import pytest
import torch

from .conftest import Runner

SMALL = {"resolution": 16, "samples": 8, "super_resolution": False}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def node(pack) -> Runner:
    """With the edit and mesh nodes, which are registered once their help pages and workflows are there."""
    runner = Runner(pack)
    modules = [importlib.import_module(f"{pack.__name__}.nodes.{name}") for name in ("edit", "export")]
    found = {name: cls for module in modules for name, cls in vars(module).items() if name.startswith("DualEnc")}
    runner.classes = {**runner.classes, **found}
    return runner


@pytest.fixture(scope="module")
def generator(node):
    return node("DualEncLoadPanoHead")[0]


@pytest.fixture(scope="module")
def head(node, generator):
    return node("DualEncSample", generator=generator, seed=3)[0]


@pytest.fixture(scope="module")
def other(node, generator):
    return node("DualEncSample", generator=generator, seed=8)[0]


@pytest.fixture(scope="module")
def hair(node, generator, other):
    return node("DualEncRegionMask", generator=generator, triplane=other, part="hair")


def look(node, generator, triplane, yaw=0.0):
    camera = node("DualEncCamera", yaw=yaw)[0]
    return node("DualEncRender", generator=generator, triplane=triplane, camera=camera, **SMALL)[0]


def test_hair_is_on_top_and_behind_and_not_on_the_chin(hair, dc, generator):
    mask, preview = hair
    assert preview.shape[2] == 4 * preview.shape[1]
    box = generator.module.config.render.box_warp
    points = torch.tensor([[[0.0, 0.19, 0.0], [0.0, 0.05, -0.18], [0.0, -0.14, 0.17]]])
    share = dc.editing.read_region(mask, points, box)[0]
    assert share[0] > 0.5 and share[1] > 0.5 and share[2] < 0.3, share


def test_a_painted_mask_needs_its_camera(node, generator, head):
    with pytest.raises(ValueError, match="connect the painted mask and the camera"):
        node("DualEncRegionMask", generator=generator, triplane=head, part="painted")
    camera = node("DualEncCamera", yaw=20.0)[0]
    with pytest.raises(ValueError, match="2 masks for 1 cameras"):
        node(
            "DualEncRegionMask",
            generator=generator,
            triplane=head,
            part="painted",
            mask=torch.ones(2, 64, 64),
            camera=camera,
        )
    painted = torch.zeros(1, 64, 64)
    painted[:, :30] = 1
    mask, _ = node(
        "DualEncRegionMask",
        generator=generator,
        triplane=head,
        part="painted",
        mask=painted,
        camera=camera,
        all_round=False,
    )
    assert 0 < mask.mask.mean() < 1


@pytest.mark.parametrize("precise", [False, True])
def test_the_back_of_the_head(node, generator, head, dc, precise):
    mask, _ = node("DualEncRegionMask", generator=generator, triplane=head, part="back of the head", precise=precise)
    box = generator.module.config.render.box_warp
    share = dc.editing.read_region(mask, torch.tensor([[[0.0, 0.0, -0.17], [0.0, 0.0, 0.17]]]), box)[0]
    assert share[0] > 0.7 and share[1] < 0.3


def test_transfer_changes_the_hair_and_keeps_the_chin(node, generator, head, other, hair):
    result = node("DualEncTransferRegion", generator=generator, target=head, reference=other, mask=hair[0])[0]
    target, reference, edited = (look(node, generator, t) for t in (head, other, result))
    top, chin = (slice(None), slice(2, 5), slice(6, 10)), (slice(None), slice(11, 13), slice(7, 9))
    assert (edited[top] - reference[top]).abs().mean() < (target[top] - reference[top]).abs().mean()
    assert (edited[chin] - target[chin]).abs().mean() < 0.05


def test_refining_the_seam_works_in_inference_mode(node, generator, head, other, hair, dc, monkeypatch):
    # A few steps are enough to see that gradients pass.
    transfer = dc.editing.transfer
    monkeypatch.setattr(dc.editing, "transfer", lambda *a, **k: transfer(*a, **k, steps=2, samples=8))
    result = node(
        "DualEncTransferRegion", generator=generator, target=head, reference=other, mask=hair[0], seam="refine"
    )[0]
    assert torch.isfinite(result.planes).all()


def test_the_implicit_seam_needs_an_encoder(node, generator, head, other, hair):
    with pytest.raises(ValueError, match="encoder"):
        node("DualEncTransferRegion", generator=generator, target=head, reference=other, mask=hair[0], seam="implicit")


def test_blend_ends_and_mask(node, generator, head, other, hair):
    ends = [node("DualEncBlend", generator=generator, first=head, second=other, weight=w)[0].planes for w in (0.0, 1.0)]
    assert torch.equal(ends[0], head.planes) and torch.equal(ends[1], other.planes)
    masked = node("DualEncBlend", generator=generator, first=head, second=other, mask=hair[0])[0]
    assert torch.equal(masked.ws, head.ws) and not torch.equal(masked.planes, head.planes)


def test_morph_starts_at_the_first_head_and_loops(node, generator, head, other):
    camera = node("DualEncCamera")[0]
    frames = node("DualEncMorph", generator=generator, first=head, second=other, camera=camera, frames=4)[0]
    first, second = (
        node("DualEncRender", generator=generator, triplane=t, camera=camera, quality="reference")[0]
        for t in (head, other)
    )
    assert frames.shape == (4, *first.shape[1:])
    assert torch.allclose(frames[0], first[0], atol=1e-5)
    assert torch.allclose(frames[2], second[0], atol=1e-5)
    assert torch.allclose(frames[1], frames[3], atol=1e-5)


def test_mirror_twice_and_completion(node, generator, head):
    once = node("DualEncMirror", triplane=head)[0]
    assert not torch.equal(once.planes, head.planes)
    assert torch.equal(node("DualEncMirror", triplane=once)[0].planes, head.planes)
    picture, flipped = look(node, generator, head, 30.0), look(node, generator, once, -30.0)
    assert torch.allclose(picture.flip(2), flipped, atol=2e-3)
    camera = node("DualEncCamera", yaw=40.0)[0]
    mask = node("DualEncOcclusionMask", generator=generator, triplane=head, camera=camera)[0]
    completed = node("DualEncMirror", triplane=head, generator=generator, mask=mask)[0]
    assert torch.allclose(look(node, generator, completed, 40.0), look(node, generator, head, 40.0), atol=0.1)
    with pytest.raises(ValueError, match="connect the generator"):
        node("DualEncMirror", triplane=head, mask=mask)


def test_mix_styles(node, generator, head, other):
    count = head.ws.shape[1]
    all_rows = node("DualEncMixStyles", generator=generator, first=head, second=other, rows="0-")[0]
    assert torch.allclose(all_rows.planes, other.planes, atol=1e-4)
    late = node("DualEncMixStyles", generator=generator, first=head, second=other, rows=f"{count - 2}-")[0]
    assert torch.equal(late.ws[:, : count - 2], head.ws[:, : count - 2])
    for rows in ("", "a", "3-1", "99", "-2", "1,,2"):
        with pytest.raises(ValueError, match="rows is"):
            node("DualEncMixStyles", generator=generator, first=head, second=other, rows=rows)


def test_mesh_has_the_shape_of_comfyuis_and_is_saved_with_colours(node, generator, head, folder):
    trimesh = pytest.importorskip("trimesh")
    mesh = node("DualEncMesh", generator=generator, triplane=head, resolution=48)[0]
    assert mesh.vertices.ndim == 3 and mesh.vertices.shape[2] == 3 and mesh.faces.shape[0] == 1
    for kind in ("glb", "ply"):
        answer = node.full("DualEncSaveMesh", mesh=mesh, filename_prefix="meshes/head", format=kind)
        line = answer["ui"]["3d"][0]
        path = folder / "output" / line["subfolder"] / line["filename"]
        assert answer["result"][0] == f"{line['subfolder']}/{line['filename']}"
        loaded = trimesh.load(path, process=False)
        if kind == "glb":
            loaded = next(iter(loaded.geometry.values()))
        assert len(loaded.faces) == mesh.faces.shape[1]
        colours = loaded.visual.vertex_attributes["color"] if kind == "glb" else loaded.visual.vertex_colors
        assert colours[:, :3].std(axis=0).min() > 1
        assert 0.1 < loaded.extents[1] < 0.6
    with pytest.raises(ValueError, match="Save GLB"):
        node("DualEncSaveMesh", mesh=object())
