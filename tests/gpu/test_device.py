"""The same heads and pictures on an accelerator as on the CPU, and nothing left behind on the wrong one.

Every test is run on each of CUDA and MPS that this machine has, and skipped where it has none.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import dualenc_core as dc
from dualenc_core.devices import full_float32
from dualenc_core.editing import ball, blend, half_space, mirror
from dualenc_core.export import bake_texture, colour_mesh, colour_views, extract_mesh
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.inversion import occlusion_mask, stitch, visibility
from dualenc_core.rendering.renderer import RenderOptions

THERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
DEVICES = [name for name, there in THERE.items() if there]
SIZE = 32
# dB against the CPU's exact picture. Rays that graze a head move with the last bit of their origin (test_fast.py), so
# that even the plain renderer is not the same everywhere.
RAW = {"reference": 75, "exact": 75, "high": 50, "draft": 36}
# The plain super-resolution has 16 bits on CUDA, as in the reference.
IMAGE = {"reference": 42, "exact": 70, "high": 42, "draft": 34}


@pytest.fixture(scope="module", params=DEVICES or ["none"])
def device(request) -> torch.device:
    if request.param == "none":
        pytest.skip("this machine has neither CUDA nor MPS")
    return torch.device(request.param)


@pytest.fixture(scope="module")
def demo() -> PanoHead:
    return dc.load_generator("demo")


@pytest.fixture(scope="module")
def heads(demo) -> dc.Triplane:
    with torch.no_grad():
        return demo.synthesize(demo.mapping(demo.latents(1, 2), truncation_psi=0.7))


@pytest.fixture(scope="module")
def moved(device) -> PanoHead:
    """The demo generator on the device."""
    return dc.load_generator("demo", device=device)


def thin() -> PanoHead:
    """All layers of the released model, with few channels."""
    torch.manual_seed(0)
    sr = SuperResolutionConfig(hidden_widths=(16, 16))
    render = RenderOptions(samples=12, importance=12)
    return PanoHead(GeneratorConfig(channel_base=2048, channel_max=32, sr=sr, render=render)).eval()


def decibels(image: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(4 / (image.cpu() - other.cpu()).square().mean().clamp(min=1e-14)))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.cpu() - b.cpu()).norm() / b.cpu().norm())


def same_device(value, device: torch.device) -> None:
    value.map(lambda tensor: tensor if tensor.device.type == device.type else pytest.fail(f"on {tensor.device}"))


# -------------------------------------------------------------------------------------------------------------- float32


def test_float32_convolutions_are_float32(device):
    x, w = torch.randn(1, 128, 32, 32), torch.randn(64, 128, 3, 3)
    exact = F.conv2d(x.double(), w.double(), padding=1)
    with full_float32():
        result = F.conv2d(x.to(device), w.to(device), padding=1)
    # TF32 is off by 3e-4, Winograd's algorithm by some 1e-6.
    assert relative(result.double(), exact) < 3e-5


def test_the_process_keeps_its_own_setting(moved, heads, device):
    x, w = torch.randn(1, 128, 32, 32, device=device), torch.randn(64, 128, 3, 3, device=device)
    before = F.conv2d(x, w)
    with torch.no_grad():
        moved.render(heads[0].to(device), dc.Camera.look_at(), 8, quality="exact")
    assert relative(F.conv2d(x, w), before) < 1e-6


# ------------------------------------------------------------------------------------------------------------ generator


@torch.no_grad()
def test_demo_planes(demo, moved, heads, device):
    ws = moved.mapping(moved.latents(1, 2), truncation_psi=0.7)
    made = moved.synthesize(ws)
    same_device(made, device)
    assert made.generator == heads.generator
    assert relative(ws, heads.ws) < 1e-5 and relative(made.planes, heads.planes) < 5e-5
    features, other = (g.background_features(h.ws) for g, h in ((demo, heads), (moved, made)))
    assert relative(other, features) < 1e-4 or float(features.abs().max()) == 0


@torch.no_grad()
@pytest.mark.parametrize("quality", ["reference", "exact", "high"])
def test_the_full_topology(device, quality):
    generator = thin()
    head = generator.synthesize(generator.mapping(generator.latents(0)))
    camera = dc.Camera.look_at([0.0, 110.0])
    plain = generator.render(head, camera, SIZE, quality="reference")
    generator.to(device)
    made = generator.synthesize(generator.mapping(generator.latents(0)))
    assert relative(made.planes, head.planes) < 5e-5
    view = generator.render(made, camera, SIZE, quality=quality)
    span = float(plain.image.abs().max())
    assert decibels(view.raw / span, plain.raw / span) > RAW[quality]
    assert decibels(view.image / span, plain.image / span) > IMAGE[quality]


@torch.no_grad()
@pytest.mark.parametrize("quality", list(RAW))
def test_pictures(demo, moved, heads, device, quality):
    camera = dc.Camera.look_at([0.0, 100.0, 200.0], [0.0, 20.0, -20.0])
    plain = demo.render(heads[1], camera, SIZE, quality="exact")
    view = moved.render(heads[1].to(device), camera, SIZE, quality=quality)
    assert view.image.device.type == device.type and view.image.dtype == torch.float32
    assert decibels(view.raw, plain.raw) > RAW[quality]
    assert decibels(view.image, plain.image) > IMAGE[quality]
    assert float((view.alpha.cpu() - plain.alpha).abs().max()) < (0.01 if quality in ("reference", "exact") else 0.2)
    solid = plain.alpha > 0.9
    error = (view.depth.cpu() - plain.depth)[solid].abs().max()
    assert float(error) < (2e-3 if quality in ("reference", "exact") else 0.1)


@torch.no_grad()
@pytest.mark.parametrize("background", ["none", (1.0, 0.0, 0.0)])
def test_backgrounds(demo, moved, heads, device, background):
    options = {"resolution": SIZE, "background": background, "quality": "exact"}
    camera = dc.Camera.look_at([0.0, 90.0])
    plain = demo.render(heads, camera, **options)
    assert decibels(moved.render(heads.to(device), camera, **options).image, plain.image) > 50


@torch.no_grad()
def test_frames_drawn_together_are_those_drawn_alone(moved, heads, device):
    head, cameras = heads[0].to(device), dc.Camera.orbit(11)
    for quality in ("exact", "high"):
        together = moved.render(head, cameras, SIZE, quality=quality)
        streamed = list(moved.stream(head, cameras, resolution=SIZE, quality=quality))
        assert [len(view) for view in streamed] == [1] * 11
        for i in (0, 1, 7, 10):
            alone = moved.render(head, cameras[i], SIZE, quality=quality)
            expected = 75 if quality == "exact" else 55
            assert decibels(together.image[i : i + 1], alone.image) > expected
            assert decibels(streamed[i].image, alone.image) > expected


def test_gradients_reach_the_planes(moved, heads, device):
    planes = heads.planes[:1].to(device).requires_grad_()
    view = moved.render(heads[0].to(device).replace(planes=planes), dc.Camera.look_at(), 16)
    view.image.square().mean().backward()
    assert float(planes.grad.abs().sum()) > 0 and bool(torch.isfinite(planes.grad).all())


# ------------------------------------------------------------------------------------------------------------ inversion


@pytest.fixture(scope="module")
def portrait(demo, heads) -> tuple[torch.Tensor, dc.Camera]:
    """A picture [1,3,512,512] and its camera, on the CPU."""
    camera = dc.Camera.look_at(12.0, 3.0)
    with torch.no_grad():
        image = demo.render(heads[0], camera, quality="exact").image.clamp(-1, 1)
    return F.interpolate(image, (512, 512), mode="bilinear", align_corners=False), camera


@pytest.mark.parametrize("name", ["demo-e1", "demo-e2"])
def test_encoders(demo, moved, portrait, device, name):
    plain = dc.load_encoder(name).encode(demo, *portrait)
    encoder = dc.load_encoder(name, map_location=device)
    made = encoder.encode(moved, *portrait)
    same_device(made, device)
    assert relative(made.ws, plain.ws) < 1e-4
    # A ray at a silhouette may fall to the other side of "a surface is seen".
    assert relative(made.planes, plain.planes) < 5e-3
    half = encoder.encode(moved, *portrait, quality="high")
    assert bool(torch.isfinite(half.planes).all()) and relative(half.planes, plain.planes) < 0.1


def test_masks_and_stitching(demo, moved, heads, device):
    camera = dc.Camera.look_at(20.0)
    here, there = heads, heads.to(device)
    cells = [occlusion_mask(g, h[0], camera) for g, h in ((demo, here), (moved, there))]
    assert float((cells[0].mask - cells[1].mask.cpu()).abs().mean()) < 2e-3
    points = [visibility(g, h[0], camera) for g, h in ((demo, here), (moved, there))]
    solid = points[0].alpha > 0.9
    assert float((points[0].depth - points[1].depth.cpu())[solid].abs().max()) < 2e-3
    for masks in (cells, points):
        plain, made = stitch(here[0], here[1], masks[0]), stitch(there[0], there[1], masks[1])
        same_device(made, device)
        side = dc.Camera.look_at(80.0)
        with torch.no_grad():
            pictures = [g.render(h, side, SIZE, quality="exact").image for g, h in ((demo, plain), (moved, made))]
        assert decibels(*pictures) > 45


@pytest.mark.parametrize("mode", ["points", "cells"])
def test_a_whole_inversion_from_the_public_names(demo, moved, portrait, device, mode):
    def invert(generator, where):
        encoders = (dc.load_encoder(f"demo-e{i}", map_location=where) for i in (1, 2))
        return dc.DualEncoder(generator, *encoders, mode).invert(*portrait)

    plain, made = invert(demo, "cpu"), invert(moved, device)
    same_device(made.triplane, device)
    assert set(made.timings) == {"encoder 1", "encoder 2", "mask", "stitch"}
    camera = dc.Camera.look_at([0.0, 70.0, 180.0])
    with torch.no_grad():
        pictures = [
            g.render(r.triplane, camera, SIZE, quality="exact").image for g, r in ((demo, plain), (moved, made))
        ]
    assert decibels(*pictures) > 42


def test_refined_against_a_photo(moved, heads, portrait, device):
    from dualenc_core.inversion.refine import RefineSettings, refine_triplane

    fitted = refine_triplane(moved, heads[1].to(device), *portrait, RefineSettings(steps=3))
    same_device(fitted.triplane, device)
    assert bool(torch.isfinite(fitted.triplane.planes).all())


# ------------------------------------------------------------------------------------------------------ editing, export


@torch.no_grad()
def test_edits(demo, moved, heads, device):
    box = demo.config.render.box_warp
    regions = (ball((0.0, 0.1, 0.0), 0.12, box=box), half_space((0.0, 0.0, -1.0), box=box))
    for weight in (0.3, *regions):
        plain, made = (blend(h[0], h[1], weight, box) for h in (heads, heads.to(device)))
        same_device(made, device)
        camera = dc.Camera.look_at([0.0, 150.0])
        pictures = [g.render(h, camera, SIZE, quality="exact").image for g, h in ((demo, plain), (moved, made))]
        assert decibels(*pictures) > 60
    assert torch.equal(mirror(heads[0].to(device)).planes.cpu(), mirror(heads[0]).planes)


def test_saved_and_loaded(moved, heads, device, tmp_path):
    head = stitch(*(heads[i].to(device) for i in (0, 1)), visibility(moved, heads[0].to(device), dc.Camera.look_at()))
    again = dc.Triplane.load(head.save(tmp_path / "head.safetensors"))
    same_device(again, torch.device("cpu"))
    assert torch.equal(again.planes, head.planes.cpu())
    assert torch.equal(again.overlays[0].weight.depth, head.overlays[0].weight.depth.cpu())
    with torch.no_grad():
        first, second = (
            moved.render(h, dc.Camera.look_at(60.0), 16, quality="reference").raw for h in (head, again.to(device))
        )
    assert decibels(first, second) > 90


def test_meshes(demo, moved, heads, device):
    pytest.importorskip("skimage")
    plain = extract_mesh(demo, heads[0], resolution=40)
    made = extract_mesh(moved, heads[0].to(device), resolution=40)
    assert made.vertices.device.type == "cpu"
    assert len(made.vertices) == pytest.approx(len(plain.vertices), rel=0.01)
    for end in ("amin", "amax"):
        assert torch.allclose(getattr(made.vertices, end)(0), getattr(plain.vertices, end)(0), atol=2e-3)
    coloured = colour_mesh(moved, heads[0].to(device), made)
    assert coloured.colours.shape == made.vertices.shape and coloured.colours.device.type == "cpu"
    assert float(coloured.colours.std()) > 0.01
    views = colour_views(moved, heads[0].to(device), resolution=SIZE)
    assert bake_texture(made, views, 64).texture is not None


# --------------------------------------------------------------------------------------------------- portrait, commands


def test_a_portrait_is_found_on_the_device(device):
    data = pytest.importorskip("skimage.data")
    plain, made = (dc.align_portrait(data.astronaut(), device=where) for where in ("cpu", str(device)))
    assert torch.allclose(made.camera.cam2world, plain.camera.cam2world, atol=0.02)
    assert decibels(made.image, plain.image) > 25


def test_commands(device, tmp_path):
    pytest.importorskip("av")
    from dualenc_core.cli import main

    where = ["--device", str(device)]
    assert main(["sample", "--seed", "1", "--count", "1", "--out", str(tmp_path / "s"), *where]) == 0
    head = next((tmp_path / "s").rglob("*.safetensors"))
    assert main(["orbit", str(head), "--frames", "5", "--out", str(tmp_path / "o.mp4"), *where]) == 0
    assert (tmp_path / "o.mp4").stat().st_size > 1000
    picture = next((tmp_path / "s").rglob("*.png"))
    assert main(["mesh", str(head), "--grid", "40", "--out", str(tmp_path / "m.glb"), *where]) == 0
    assert main(["edit", "mirror", str(head), "--out", str(tmp_path / "e"), *where]) == 0
    assert picture.stat().st_size > 1000


# ---------------------------------------------------------------------------------------------------------------- nodes


class Patcher:
    """What the nodes need of ComfyUI's ModelPatcher."""

    def __init__(self, module, load_device, offload_device) -> None:
        self.module, self.load_device = module, load_device


@pytest.fixture
def comfyui(pack, device, monkeypatch, tmp_path):
    """Stand-ins for ComfyUI's memory management, which computes on the device and keeps results on the CPU."""
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    management = SimpleNamespace(
        get_torch_device=lambda: device,
        unet_offload_device=lambda: torch.device("cpu"),
        intermediate_device=lambda: torch.device("cpu"),
        load_models_gpu=lambda patchers: [p.module.to(p.load_device) for p in patchers],
        soft_empty_cache=lambda: None,
        throw_exception_if_processing_interrupted=lambda: None,
        OOM_EXCEPTION=torch.OutOfMemoryError,
    )
    modules = {"comfy.model_management": management, "comfy.model_patcher": SimpleNamespace(ModelPatcher=Patcher)}
    monkeypatch.setattr(runtime, "comfy", modules.get)
    monkeypatch.chdir(tmp_path)
    return runtime


def call(pack, name, **given):
    cls = pack.NODE_CLASS_MAPPINGS[name]
    arguments = {}
    for key, (kind, options) in cls.INPUT_TYPES()["required"].items():
        if key not in given:
            arguments[key] = options.get("default", kind[0] if isinstance(kind, list) else None)
    with torch.inference_mode():
        answer = getattr(cls(), cls.FUNCTION)(**arguments, **given)
    return answer["result"] if isinstance(answer, dict) else answer


def test_nodes_compute_there_and_answer_here(pack, comfyui, device, demo, heads):
    assert comfyui.use() == comfyui.compute_device() == device
    generator = call(pack, "DualEncLoadPanoHead")[0]
    head = call(pack, "DualEncSample", generator=generator, seed=3)[0]
    assert head.planes.device.type == "cpu"
    assert generator.module.w_avg.device.type == device.type
    cameras = call(pack, "DualEncOrbit", frames=10)[0]
    image, alpha, *_ = call(pack, "DualEncRender", generator=generator, triplane=head, camera=cameras, resolution=SIZE)
    assert image.device.type == alpha.device.type == "cpu" and len(image) == 10
    assert not generator.module._prepared.heads
    with torch.no_grad():
        plain = demo.render(head.map(torch.clone), cameras, SIZE, quality="exact").image
    assert decibels(image * 2 - 1, plain.clamp(-1, 1).movedim(1, -1)) > 60
    encoders = [call(pack, "DualEncLoadEncoder", **given)[0] for given in ({}, {})]
    photo = F.interpolate(image[:1].movedim(-1, 1), (256, 256)).movedim(1, -1)
    given = {"generator": generator, "encoder": encoders[0], "image": photo, "camera": cameras[0]}
    made = call(pack, "DualEncEncode", **given)[0]
    assert made.planes.device.type == "cpu" and bool(torch.isfinite(made.planes).all())
    # What ComfyUI moved in inference mode can have no gradients itself.
    head = made.map(torch.clone)
    given = {"generator": generator, "image": photo, "camera": cameras[0], "steps": 2, "tune_steps": 1}
    for mode in ("refine", "W+", "PTI"):
        fitted = call(pack, "DualEncOptimize", mode=mode, triplane=head, **given)[1]
        assert fitted.planes.device.type == "cpu" and bool(torch.isfinite(fitted.planes).all())
    given = {"generator": generator, "target": made, "reference": head, "seam": "refine"}
    assert bool(torch.isfinite(call(pack, "DualEncTransferRegion", **given)[0].planes).all())
