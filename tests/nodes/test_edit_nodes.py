"""Edit and mesh nodes, on stylised heads: seeds 3 and 18 have hair of known places."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.stylised import GENERATOR

SMALL = {"resolution": 16, "samples": 8, "super_resolution": False}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def generator(pack, dc):
    runtime = sys.modules[f"{pack.__name__}.nodes.runtime"]
    return runtime.Network.wrap(dc.load_generator(GENERATOR), "stylised")


@pytest.fixture(scope="module")
def head(node, generator):
    return node("DualEncSample", generator=generator, seed=3)[0]


@pytest.fixture(scope="module")
def other(node, generator):
    return node("DualEncSample", generator=generator, seed=18)[0]


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
    # On the surface: above, behind, and the chin.
    points = torch.tensor([[[0.0, 0.25, 0.04], [0.0, 0.05, -0.25], [0.0, -0.14, 0.17]]])
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


def test_without_a_mask_the_part_is_found_on_both_heads(node, generator, head, other, hair, dc, monkeypatch):
    asked = []

    def find(network, triplane, part, **options):
        asked.append((triplane.ws[0, 0, 0].item(), part))
        return hair[0].map(lambda mask: mask * (0.5 if len(asked) == 1 else 1.0))

    monkeypatch.setattr(dc.editing, "find_part", find)
    heads = {"generator": generator, "target": head, "reference": other}
    itself = node("DualEncTransferRegion", **heads)[0]
    assert asked == [(other.ws[0, 0, 0].item(), "hair"), (head.ws[0, 0, 0].item(), "hair")]
    half = hair[0].map(lambda mask: mask * 0.5)
    given = node("DualEncTransferRegion", mask=half, target_mask=hair[0], **heads)[0]
    assert torch.equal(itself.planes, given.planes)
    asked.clear()
    node("DualEncTransferRegion", recipe="mouth", target_mask=hair[0], **heads)
    assert asked == [(other.ws[0, 0, 0].item(), "lips")]
    with pytest.raises(ValueError, match="glasses are not found by themselves"):
        node("DualEncTransferRegion", recipe="glasses", **heads)


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
    frames, alpha = node("DualEncMorph", generator=generator, triplane=head, second=other, camera=camera, frames=4)
    assert alpha.shape == frames.shape[:3]
    first, second = (
        node("DualEncRender", generator=generator, triplane=t, camera=camera, quality="exact")[0] for t in (head, other)
    )
    assert frames.shape == (4, *first.shape[1:])
    assert torch.allclose(frames[0], first[0], atol=1e-5)
    assert torch.allclose(frames[2], second[0], atol=1e-5)
    assert torch.allclose(frames[1], frames[3], atol=1e-5)


def test_morph_takes_a_batch_and_a_moving_camera(node, generator, head, dc):
    heads = node("DualEncSample", generator=generator, seed=3, count=2)[0]
    cameras = node("DualEncOrbit", frames=3, start=-30.0, end=30.0)[0]
    options = {"generator": generator, "triplane": heads, "loop": False, "background": "colour", "colour": "#ff0000"}
    frames = node("DualEncMorph", camera=cameras, **options)[0]
    assert len(frames) == 3
    assert torch.allclose(frames[:, 0, 0], torch.tensor([1.0, 0.0, 0.0]).expand(3, 3), atol=0.05)
    last = node("DualEncRender", generator=generator, triplane=heads[1], camera=cameras[2], quality="exact",
                background="colour", colour="#ff0000")[0]  # fmt: skip
    assert torch.allclose(frames[2], last[0], atol=1e-5)
    styles = node("DualEncMorph", camera=cameras, mix="styles", **options)[0]
    assert torch.allclose(styles[0], frames[0], atol=1e-5) and not torch.allclose(styles[1], frames[1], atol=1e-3)
    with pytest.raises(ValueError, match="one head only"):
        node("DualEncMorph", generator=generator, triplane=head, camera=cameras)
    with pytest.raises(ValueError, match="so one picture"):
        node("DualEncMorph", generator=generator, triplane=heads, camera=cameras[0])


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


def test_a_mesh_can_be_reduced_and_textured(node, generator, head, dc):
    pytest.importorskip("fast_simplification")
    options = {"generator": generator, "triplane": head, "resolution": 48}
    full = node("DualEncMesh", **options)[0]
    small = node("DualEncMesh", triangles=1000, texture=128, **options)[0]
    assert small.faces.shape[1] <= 1100 < full.faces.shape[1]
    assert small.dualenc.texture.shape == (3, 128, 128) and full.dualenc.texture is None
    for changes in ({"texture": 10}, {"triangles": 5}, {"head": 1}):
        with pytest.raises(ValueError, match="expected at least 64 and 100|holds 1 head"):
            node("DualEncMesh", **options, **changes)


def test_comfyuis_mesh_is_in_metres_and_takes_colours_where_it_has_a_place(
    pack, node, generator, head, dc, monkeypatch
):
    runtime = importlib.import_module(f"{pack.__name__}.nodes.runtime")
    ours = node("DualEncMesh", generator=generator, triplane=head, resolution=32)[0].dualenc

    class Old:
        def __init__(self, vertices, faces):
            self.vertices, self.faces = vertices, faces

    class New(Old):
        def __init__(self, vertices, faces, vertex_colors=None):
            super().__init__(vertices, faces)
            self.vertex_colors = vertex_colors

    for kind in (Old, New):
        modules = {"comfy_api.latest._util": SimpleNamespace(MESH=kind)}
        monkeypatch.setattr(runtime, "comfy", modules.get)
        mesh = runtime.mesh(ours)
        assert type(mesh) is kind and mesh.dualenc is ours
        assert torch.allclose(mesh.vertices[0], ours.vertices * dc.export.METRES_PER_UNIT)
    # Linear, as glTF and every mesh node of ComfyUI have it.
    srgb = ours.colours.double()
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    assert torch.allclose(mesh.vertex_colors[0].double(), linear, atol=1e-6)


def test_mesh_has_the_shape_of_comfyuis_and_is_saved_with_colours(node, generator, head, folder):
    trimesh = pytest.importorskip("trimesh")
    mesh = node("DualEncMesh", generator=generator, triplane=head, resolution=48)[0]
    assert mesh.vertices.ndim == 3 and mesh.vertices.shape[2] == 3 and mesh.faces.shape[0] == 1
    for kind in ("glb", "ply"):
        answer = node.full("DualEncSaveMesh", mesh=mesh, filename_prefix="meshes/head", format=kind)
        line = answer["ui"]["3d"][0]
        shown = [each["filename"] for lines in answer["ui"].values() for each in lines if isinstance(each, dict)]
        assert sorted(shown) == sorted(set(shown)), "the assets panel counts it twice"
        path = folder / "output" / line["subfolder"] / line["filename"]
        assert answer["result"][0] == f"{line['subfolder']}/{line['filename']}"
        loaded = trimesh.load(path, process=False)
        if kind == "glb":
            loaded = next(iter(loaded.geometry.values()))
        assert len(loaded.faces) == mesh.faces.shape[1]
        colours = loaded.visual.vertex_attributes["color"] if kind == "glb" else loaded.visual.vertex_colors
        assert colours[:, :3].std(axis=0).min() > 1
        assert 0.1 < loaded.extents[1] < 0.6
    with pytest.raises(ValueError, match="object without vertices and faces"):
        node("DualEncSaveMesh", mesh=object())
