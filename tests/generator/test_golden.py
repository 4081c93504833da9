"""The generator against the reference's numbers, stage by stage (golden/panohead/README.md states the tolerances)."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from dualenc_core.camera import Camera, panohead_fov_intrinsics
from dualenc_core.generator import PanoHead
from dualenc_core.generator.decoder import OSGDecoder
from dualenc_core.generator.superresolution import resize
from dualenc_core.rendering.output import Rendering
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.renderer import Draws, crop_mask, render_rays
from dualenc_core.rendering.sampling import importance_depths, stratified_depths
from dualenc_core.rendering.trigrid import lookup
from dualenc_core.triplane import Triplane


def official_arguments(config: dict) -> tuple[dict, dict]:
    """The sets describe themselves in their own words; these are the arguments of an official file."""
    init = {
        "z_dim": config["z_dim"],
        "c_dim": config["c_dim"],
        "w_dim": config["w_dim"],
        "img_resolution": config["img_resolution"],
        "img_channels": config["img_channels"],
        "mapping_kwargs": {"num_layers": config["map_layers"]},
        "channel_base": config["channel_base"],
        "channel_max": config["channel_max"],
        "num_fp16_res": config["num_fp16_res"],
        "conv_clamp": config["conv_clamp"],
        "sr_num_fp16_res": config["sr"]["sr_num_fp16_res"],
        "sr_kwargs": {k: config["sr"][k] for k in ("input_resolution", "hidden_widths", "w_dim")},
    }
    return init, config["rendering_kwargs"]


class Set:
    def __init__(self, folder):
        self.name = folder.name
        self.config = json.loads((folder / "config.json").read_text())
        self.vectors = load_file(folder / "vectors.safetensors")
        state = load_file(folder / "state.safetensors")
        self.generator = PanoHead.from_config(*official_arguments(self.config), state)
        self.state = state

    def triplane(self) -> Triplane:
        return self.generator.synthesize(self.vectors["ws"])


@pytest.fixture(scope="module", params=["tiny_d3", "official_thin"])
def reference(request, golden):
    return Set(golden / "panohead" / request.param)


def test_keys_and_parameter_count(reference):
    assert set(reference.generator.state_dict()) == set(reference.state)
    assert sum(p.numel() for p in reference.generator.parameters()) == reference.config["num_params"]


def test_mapping(reference, parity):
    v, g = reference.vectors, reference.generator
    camera = Camera.from_label(v["mapping.c"])
    z = v["mapping.z"]
    zero = torch.zeros_like(v["mapping.c"])
    check = lambda name, actual: parity.check(name, actual, v[name], 1e-5, reference.name)  # noqa: E731
    check("mapping.ws", g.mapping(z.double(), camera))
    check("mapping.ws_psi0.7", g.mapping(z, camera, truncation_psi=0.7))
    check("mapping.ws_psi0.6_cut3", g.mapping(z, camera, truncation_psi=0.6, truncation_cutoff=3))
    check("mapping.ws_czero", g.backbone.mapping(z, zero))
    check("mapping.t_delta", g.camera_offset(z, camera))
    check("mapping.t_delta_psi0.7", g.camera_offset(z, camera, 0.7))
    check("mapping.c_new", camera.translated(g.camera_offset(z, camera)).label)


def test_backbone(reference, parity):
    v, g = reference.vectors, reference.generator
    check = lambda name, actual: parity.check(name, actual, v[name], 1e-4, reference.name)  # noqa: E731
    for r in g.backbone.synthesis.resolutions:
        if f"backbone.b{r}.img.b0" in v:
            check(f"backbone.b{r}.img.b0", g.backbone.synthesis(v["ws"], resolution=r)[:1])
    planes = reference.triplane().planes.flatten(1, 2)
    silent = g.synthesize(v["ws"], noise="none").planes.flatten(1, 2)
    name = "planes_const.sum_per_channel"
    size = planes.shape[-1]
    parity.check(name, planes.double().sum((2, 3)), v[name], 5e-4 * size, reference.name)
    if reference.name == "tiny_d3":
        check("planes_const.b0", planes[:1])
        check("planes_const.strided4", planes[:, :, ::4, ::4])
        check("planes_none.b0_strided4", silent[:1, :, ::4, ::4])
    else:
        check("planes_const.strided16", planes[:, :, ::16, ::16])
        check("planes_none.strided32", silent[:, :, ::32, ::32])


def test_query(reference, parity):
    v, g = reference.vectors, reference.generator
    xyz = v["points.xyz"]
    sampled = lookup(reference.triplane().planes, xyz, g.config.plane_depth, g.config.render.box_warp)
    check = lambda name, actual: parity.check(name, actual, v[name], 1e-4, reference.name)  # noqa: E731
    check("points.features", sampled)
    sigma, colour = g.query(reference.triplane(), xyz)
    check("points.decoder_sigma", sigma)
    check("points.decoder_rgb", colour)
    for activation in ("sigmoid", "lrelu"):
        decoder = OSGDecoder(g.config.features, g.config.decoder_width, activation=activation)
        decoder.load_state_dict(g.decoder.state_dict())
        check(f"points.decoder_rgb_{activation}", decoder(sampled)[1])
    assert torch.equal(crop_mask(xyz, g.config.render), v["points.crop_mask"].bool())


def draws_of(v, run) -> Draws:
    return Draws(v[f"{run}.jitter"], v[f"{run}.u"])


def test_renders(reference, parity):
    v, g = reference.vectors, reference.generator
    triplane = reference.triplane()
    for entry in reference.config["runs"]:
        run, nrr = f"run{entry['index']}", entry["nrr"]
        camera = Camera.from_label(v[f"{run}.c"])
        with torch.no_grad():
            out = g.render(triplane, camera, resolution=nrr, draws=draws_of(v, run), chunk=1000)
            rays = g.render_rays(triplane, *camera_rays(camera, nrr), draws=draws_of(v, run))
        _check_outputs(parity, reference, run, out)
        check = lambda key, actual, tol=1e-4, run=run: (  # noqa: E731
            parity.check(f"{run}.{key}", actual, v[f"{run}.{key}"], tol, reference.name)
            if f"{run}.{key}" in v
            else None
        )
        check("weights_sum", rays.alpha[..., None])
        check("depth_samples", rays.depth[..., None], 2e-4)
        check("feature_samples", rays.features)
        scene = g.background_features(v["ws"])
        check("bcg_image", scene)
        check("bcg_image.strided4", scene[..., ::4, ::4])
        check("bcg_resized", resize(scene, nrr))
        features = rays.features.transpose(1, 2).reshape(len(out.image), -1, nrr, nrr)
        features = features + (1 - out.alpha) * resize(scene, nrr)
        check("feature_image", features)
        size = g.config.sr.input_resolution
        raw, features = resize(out.raw, size), resize(features, size)
        x, image = g.superresolution.block0(features, raw, v["ws"][:, -1:].expand(-1, 3, -1), "none", True)
        check("sr.block0_x", x)
        check("sr.block0_img", image)
        check("sr.block0_x.strided16", x[..., ::16, ::16])
        check("sr.block0_img.strided4", image[..., ::4, ::4])
        x, _ = g.superresolution.block1(x, image, v["ws"][:, -1:].expand(-1, 3, -1), "none", True)
        check("sr.block1_x.strided32", x[..., ::32, ::32])


def _check_outputs(parity, reference, prefix: str, out: Rendering) -> None:
    v = reference.vectors
    values = {
        "image": (out.image, 1e-4),
        "image_raw": (out.raw, 1e-4),
        "image_depth": (out.depth, 2e-4),
        "image_mask": (out.alpha * 1.002 - 0.001, 1e-4),
        "image.strided2": (out.image[..., ::2, ::2], 1e-4),
        "image.crop_y0_x0_128": (out.image[..., :128, :128], 1e-4),
        "image.crop_y201_x230_128": (out.image[..., 201:329, 230:358], 1e-4),
    }
    found = [name for name in values if f"{prefix}.{name}" in v]
    assert found
    for name in found:
        actual, tolerance = values[name]
        parity.check(f"{prefix}.{name}", actual, v[f"{prefix}.{name}"], tolerance, reference.name)


def test_renderer_internals(reference, parity):
    v, g = reference.vectors, reference.generator
    triplane, options = reference.triplane(), g.config.render
    for entry in reference.config["runs"]:
        run, nrr = f"run{entry['index']}", entry["nrr"]
        origins, directions = camera_rays(Camera.from_label(v[f"{run}.c"]), nrr)
        check = lambda key, actual, tol, run=run: (  # noqa: E731
            parity.check(f"{run}.{key}", actual, v[f"{run}.{key}"], tol, reference.name)
            if f"{run}.{key}" in v
            else None
        )
        check("ray_origins", origins, 1e-6)
        check("ray_dirs", directions, 1e-6)
        check("ray_dirs.strided61", directions[:, ::61], 1e-6)
        if f"{run}.coarse.depths" not in v:
            continue
        n, r = origins.shape[:2]
        depths = stratified_depths(options.near, options.far, options.samples, v[f"{run}.jitter"], (n, r))
        check("coarse.depths", depths[..., None], 1e-6)
        points = (origins[:, :, None] + depths[..., None] * directions[:, :, None]).reshape(n, -1, 3)
        check("coarse.sigma", g.query(triplane, points)[0], 1e-4)
        weights = v[f"{run}.coarse.march_weights"][..., 0]
        fine = importance_depths(v[f"{run}.coarse.depths"][..., 0], weights, options.importance, v[f"{run}.u"])
        check("fine.depths", fine[..., None], 1e-4)


def test_renderer_variants(reference, parity):
    v, g = reference.vectors, reference.generator
    if "run0.var.imp0.weights_sum" not in v:
        return
    triplane = reference.triplane()
    camera = Camera.from_label(v["run0.c"])
    draws = draws_of(v, "run0")
    variants = {
        "disparity": {"disparity": True},
        "imp0": {"importance": 0},
        "white_back": {"white_back": True},
    }
    for name, change in variants.items():
        options = g.config.replace(render=_replaced(g.config.render, change)).render
        rays = render_rays(lambda p: g.query(triplane, p), *camera_rays(camera, 8), options, draws, chunk=37)
        for key, actual, tolerance in (
            ("feature_samples", rays.features, 1e-4),
            ("depth_samples", rays.depth[..., None], 2e-4),
            ("weights_sum", rays.alpha[..., None], 1e-4),
        ):
            full = f"run0.var.{name}.{key}"
            parity.check(full, actual, v[full], tolerance, reference.name)
    out = g(v["mapping.z"], camera, truncation_psi=0.7, resolution=8, draws=draws)
    _check_outputs(parity, reference, "run0.var.forward_psi0.7", out)
    out = g.render(triplane, camera, resolution=8, draws=draws, ws_background=v["ws"].flip(0))
    _check_outputs(parity, reference, "run0.var.ws_bcg_flipped", out)


def _replaced(options, change):
    import dataclasses

    return dataclasses.replace(options, **change)


def test_cameras(golden, parity):
    v = load_file(golden / "panohead" / "cameras.safetensors")
    spec = json.loads((golden / "panohead" / "cameras.json").read_text())
    for i, entry in enumerate(spec["lookat"]):
        camera = Camera.from_panohead_angles(entry["yaw"], entry["pitch"], entry["pivot"], entry["radius"])
        pole = min(entry["pitch"], math.pi - entry["pitch"]) < 1e-3
        expected = v["lookat.cam2world"][i : i + 1]
        parity.check(f"lookat[{i}]", camera.cam2world, expected, 1e-3 if pole else 1e-6, "cameras")
    for i, fov in enumerate(spec["fov"]):
        parity.check(f"fov[{i}]", panohead_fov_intrinsics(fov), v["fov.intrinsics"][i : i + 1], 1e-6, "cameras")
    camera = Camera(v["rays.cam2world"], v["rays.intrinsics"])
    for n in (4, 7, 16):
        origins, directions = camera_rays(camera, n)
        parity.check(f"res{n}.origins", origins, v[f"rays.res{n}.origins"], 1e-6, "cameras")
        parity.check(f"res{n}.dirs", directions, v[f"rays.res{n}.dirs"], 1e-6, "cameras")
