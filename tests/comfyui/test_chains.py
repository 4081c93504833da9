"""Our sockets into ComfyUI's own 3D nodes and back, on a real server. Skipped, node by node, where it lacks them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .server import Server

POSE = {"yaw": 25.0, "pitch": 8.0, "roll": 0.0, "radius": 2.7, "fov": 13.374}


@pytest.fixture(scope="module")
def known(server: Server) -> set[str]:
    return set(server.get("/object_info"))


@pytest.fixture
def needs(known):
    def check(*names: str) -> None:
        missing = [name for name in names if name not in known]
        if missing:
            pytest.skip(f"this ComfyUI has no {', '.join(missing)}")

    return check


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def head_mesh(resolution: int = 64, texture: int = 0) -> dict[str, Any]:
    """An invented head and its mesh."""
    options = {"triangles": 0, "smooth": 0, "largest_only": True, "threshold": 0.0, "head": 0}
    return {
        "generator": node("DualEncLoadPanoHead", file="demo (bundled)"),
        "head": node("DualEncSample", generator=["generator", 0], seed=3, truncation=0.7, count=1),
        "mesh": node(
            "DualEncMesh",
            generator=["generator", 0],
            triplane=["head", 0],
            resolution=resolution,
            texture=texture,
            **options,
        ),
    }


def saved(server: Server, prompt: dict[str, Any], last: str = "mesh", format: str = "glb") -> tuple[dict, bytes]:
    """The JSON and the binary part of the GLB that DualEnc Save Mesh writes of a node's mesh."""
    keep = node("DualEncSaveMesh", mesh=[last, 0], filename_prefix="chains/mesh", format=format)
    outputs = server.run({**prompt, "keep": keep}, seconds=400)
    content = server.view(outputs["keep"]["3d"][0])
    length = int.from_bytes(content[12:16], "little")
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def accessor(tree: dict, data: bytes, name: str) -> np.ndarray:
    """Values of an attribute, or of the indices."""
    primitive = tree["meshes"][0]["primitives"][0]
    entry = tree["accessors"][primitive["indices"] if name == "indices" else primitive["attributes"][name]]
    view = tree["bufferViews"][entry["bufferView"]]
    kind = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
    start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    values = np.frombuffer(data, kind, entry["count"] * width, start).reshape(-1, width)
    return values / np.iinfo(kind).max if entry.get("normalized") else values


def triangles(tree: dict, data: bytes) -> int:
    return accessor(tree, data, "indices").size // 3


def pixels(server: Server, line: dict[str, str]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(server.view(line))).convert("RGB")).astype(float) / 255


CHANGES = {
    "DecimateMesh": {"target_face_count": 1500, "placement_mode": "midpoint"},
    "RotateMesh": {"mode": "euler_xyz", "mode.angle_x": 0.0, "mode.angle_y": 90.0, "mode.angle_z": 0.0},
    "MeshSmoothNormals": {"crease_angle": 180.0},
    "WeldVertices": {"epsilon_rel": 1e-5, "epsilon_abs": 0.0},
    "FillHoles": {"max_perimeter": 0.03, "weld_epsilon_rel": 1e-5, "max_vertices": 16, "fill_chains": False},
    "UnwrapMesh": {"segmenter": "adaptive", "resolution": 512, "padding": 1, "weld_distance": 0.0},
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_mesh_behind_a_core_node_is_saved_as_that_node_left_it(server: Server, needs, kind: str) -> None:
    needs(kind, "MeshToFile3D", "SaveGLB")
    prompt = head_mesh()
    before = saved(server, prompt)
    prompt["change"] = node(kind, mesh=["mesh", 0], **CHANGES[kind])
    after = saved(server, prompt, "change")
    reference = server.run({**prompt, "core": node("SaveGLB", mesh=["change", 0], filename_prefix="chains/core")})
    content = server.view(reference["core"]["3d"][0])
    length = int.from_bytes(content[12:16], "little")
    core = json.loads(content[20 : 20 + length]), content[28 + length :]
    assert triangles(*after) == triangles(*core)
    for name in ("POSITION", "COLOR_0"):
        ours, theirs = accessor(*after, name), accessor(*core, name)
        assert ours.shape[0] == theirs.shape[0]
        assert np.abs(ours[:, :3] - theirs[:, :3]).max() < 2e-5, name
    old, new = accessor(*before, "POSITION"), accessor(*after, "POSITION")
    moved = old.shape != new.shape or np.abs(new - old).max() > 1e-3
    if kind in ("DecimateMesh", "RotateMesh"):
        assert moved
    if kind == "DecimateMesh":
        assert triangles(*after) < 1700 < triangles(*before)
    if kind == "UnwrapMesh":
        assert "TEXCOORD_0" in after[0]["meshes"][0]["primitives"][0]["attributes"]


def test_merged_meshes_are_saved(server: Server, needs) -> None:
    needs("MergeMeshes", "RotateMesh")
    prompt = head_mesh()
    single = triangles(*saved(server, prompt))
    prompt["other"] = node("RotateMesh", mesh=["mesh", 0], **CHANGES["RotateMesh"])
    prompt["merged"] = node("MergeMeshes", **{"meshes.mesh0": ["mesh", 0], "meshes.mesh1": ["other", 0]})
    assert triangles(*saved(server, prompt, "merged")) == 2 * single


def test_vertex_colours_of_core_files_are_linear(server: Server, needs) -> None:
    """The file of ComfyUI's own save node and ours show the same head: pale ones were sRGB where linear is meant."""
    needs("MeshToFile3D")
    prompt = head_mesh()
    ours = accessor(*saved(server, prompt), "COLOR_0")[:, :3]
    outputs = server.run({**prompt, "core": node("SaveGLB", mesh=["mesh", 0], filename_prefix="chains/core")})
    content = server.view(outputs["core"]["3d"][0])
    length = int.from_bytes(content[12:16], "little")
    theirs = accessor(json.loads(content[20 : 20 + length]), content[28 + length :], "COLOR_0")[:, :3]
    assert np.abs(ours - theirs).max() < 2e-5


def view_of(server: Server, prompt: dict[str, Any], mode: str, camera: list) -> dict[str, np.ndarray]:
    """Our picture of the head and Render Mesh's of its mesh, with the same camera."""
    prompt = {
        **prompt,
        "camera": node("DualEncCamera", **POSE),
        "picture": node(
            "DualEncRender",
            generator=["generator", 0],
            triplane=["head", 0],
            camera=["camera", 0],
            background="colour",
            colour="#000000",
            resolution=0,
            samples=0,
            super_resolution=True,
            quality="exact",
        ),
        "drawn": node(
            "RenderMesh",
            mesh=["mesh", 0],
            mode=mode,
            width=256,
            height=256,
            background="#000000",
            camera_info=camera,
        ),
        "a": node("SaveImage", images=["picture", 0], filename_prefix="chains/a"),
        "b": node("SaveImage", images=["drawn", 0], filename_prefix="chains/b"),
    }
    outputs = server.run(prompt, seconds=400)
    return {key: pixels(server, outputs[key]["images"][0]) for key in "ab"}


@pytest.mark.parametrize(("mode", "texture"), [("vertex colors", 0), ("texture", 512)])
def test_render_mesh_draws_from_our_camera_what_we_draw(server: Server, needs, mode: str, texture: int) -> None:
    needs("RenderMesh")
    seen = view_of(server, head_mesh(128, texture), mode, ["camera", 1])
    a, b = seen["a"], seen["b"]
    if a.shape != b.shape:
        a = np.asarray(Image.fromarray((a * 255).astype(np.uint8)).resize(b.shape[1::-1], Image.LANCZOS)) / 255
    inside, drawn = a.sum(-1) > 0.15, b.sum(-1) > 0.15
    assert (inside & drawn).sum() / (inside | drawn).sum() > 0.95, "silhouettes differ"
    both = inside & drawn
    psnr = -10 * np.log10(((a - b)[both] ** 2).mean())
    print(f"Render Mesh ({mode}) against our Render: {psnr:.1f} dB on the head")
    assert psnr > 20, psnr
    assert abs(a[both].mean() - b[both].mean()) < 0.03, "one of them is paler"


def test_the_cameras_of_an_orbit_drive_render_mesh_frame_by_frame(server: Server, needs) -> None:
    needs("RenderMesh")
    prompt = head_mesh()
    turn = {"start": 0.0, "end": 360.0, "pitch": 0.0, "swing": False, "fps": 12.0, "radius": 2.7, "fov": 13.374}
    prompt["orbit"] = node("DualEncOrbit", frames=3, **turn)
    prompt["drawn"] = node(
        "RenderMesh",
        mesh=["mesh", 0],
        mode="vertex colors",
        width=64,
        height=64,
        background="#000000",
        camera_info=["orbit", 2],
    )
    prompt["save"] = node("SaveImage", images=["drawn", 0], filename_prefix="chains/orbit")
    lines = server.run(prompt)["save"]["images"]
    frames = [pixels(server, line) for line in lines]
    assert len(frames) == 3 and all(np.abs(frames[0] - frame).max() > 0.1 for frame in frames[1:])


def test_a_saved_mesh_goes_into_the_3d_viewers_with_our_camera(server: Server, needs) -> None:
    needs("Preview3DAdvanced", "Save3DAdvanced")
    prompt = head_mesh()
    prompt["keep"] = node("DualEncSaveMesh", mesh=["mesh", 0], filename_prefix="chains/mesh", format="glb")
    prompt["camera"] = node("DualEncCamera", **POSE)
    viewer = {"model_3d": ["keep", 1], "viewport_state": {}, "width": 512, "height": 512, "camera_info": ["camera", 1]}
    prompt["look"] = node("Preview3DAdvanced", **viewer)
    prompt["again"] = node("Save3DAdvanced", **viewer, filename_prefix="chains/again")
    prompt["back"] = node("DualEncCamera", **{**POSE, "yaw": 0.0, "radius": 5.0}, camera_info=["look", 2])
    prompt["same"] = node("Preview3D", model_file=["keep", 0], camera_info=["back", 1])
    outputs = server.run(prompt)
    assert outputs["keep"]["3d"] and outputs["look"] and outputs["again"]
    shown = json.dumps(outputs["same"])
    # Where the pad's camera stands, in metres, after a way through the viewer.
    expected = 2.7 * 0.4177 * np.cos(np.radians(8)) * np.sin(np.radians(25))
    info = next(part for part in outputs["same"]["result"] if isinstance(part, dict))
    assert abs(info["position"]["x"] - expected) < 1e-5, shown


def test_the_oldest_way_to_look_at_a_mesh(server: Server) -> None:
    """A path and a camera into Preview 3D; every version has these."""
    prompt = head_mesh()
    prompt["keep"] = node("DualEncSaveMesh", mesh=["mesh", 0], filename_prefix="chains/mesh", format="glb")
    prompt["camera"] = node("DualEncCamera", **POSE)
    prompt["look"] = node("Preview3D", model_file=["keep", 0], camera_info=["camera", 1])
    outputs = server.run(prompt)
    assert outputs["look"]["result"][0].startswith("chains/mesh")
    assert outputs["look"]["result"][1]["cameraType"] == "perspective"


def head_splat(save: str, count: int = 60_000) -> dict[str, Any]:
    """An invented head and its splats."""
    options = {"count": count, "save": save, "filename_prefix": "chains/splat", "threshold": 0.0, "head": 0}
    prompt = {key: value for key, value in head_mesh().items() if key != "mesh"}
    prompt["splat"] = node("DualEncSplat", generator=["generator", 0], triplane=["head", 0], **options)
    return prompt


def test_splats_are_saved_on_every_comfyui(server: Server, known) -> None:
    output = server.run(head_splat("no", 5_000), seconds=400)["splat"]
    if "RenderSplat" in known:
        assert "3d" not in output and "splats" in output["text"][0]
        output = server.run(head_splat("spz", 5_000), seconds=400)["splat"]
    assert len(server.view(output["3d"][0])) > 30_000


def test_render_splat_draws_from_our_camera_what_we_draw(server: Server, needs) -> None:
    needs("RenderSplat", "SplatToFile3D")
    prompt = head_splat("ply")
    prompt["camera"] = node("DualEncCamera", **POSE)
    plain = {"background": "colour", "colour": "#000000", "resolution": 0, "samples": 0, "super_resolution": True}
    scene = {"generator": ["generator", 0], "triplane": ["head", 0], "camera": ["camera", 0]}
    prompt["picture"] = node("DualEncRender", **scene, **plain, quality="exact")
    look = {"width": 512, "height": 512, "frames": 1, "splat_scale": 1.0, "sharpen": 1.0, "headlight_shading": 0.0}
    look |= {"opacity_threshold": 0.0, "render_style": "color", "background": "#000000"}
    prompt["drawn"] = node("RenderSplat", splat=["splat", 0], camera_info=["camera", 1], **look)
    # The file says the same as the socket.
    prompt["read"] = node("File3DToSplat", model_3d=["splat", 2])
    prompt["again"] = node("RenderSplat", splat=["read", 0], camera_info=["camera", 1], **look)
    for key in ("picture", "drawn", "again"):
        prompt[f"save_{key}"] = node("SaveImage", images=[key, 0], filename_prefix=f"chains/{key}")
    outputs = server.run(prompt, seconds=500)
    ours, drawn, again = (pixels(server, outputs[f"save_{k}"]["images"][0]) for k in ("picture", "drawn", "again"))
    psnr = -10 * np.log10(((ours - drawn) ** 2).mean())
    print(f"Render Splat against DualEnc Render: {psnr:.1f} dB")
    assert psnr > 30, psnr
    assert -10 * np.log10(((drawn - again) ** 2).mean()) > 45
