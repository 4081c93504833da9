"""Single operations against the reference's numbers (golden/panohead/README.md, ops.safetensors)."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from dualenc_core.generator.layers import (
    FullyConnectedLayer,
    bias_act,
    fir_filter,
    modulated_conv2d,
    upfirdn2d,
    upsample2d,
)
from dualenc_core.generator.superresolution import resize
from dualenc_core.rendering.marching import march
from dualenc_core.rendering.renderer import RenderOptions, crop_mask
from dualenc_core.rendering.sampling import importance_depths, stratified_depths
from dualenc_core.rendering.trigrid import lookup, plane_coordinates
from dualenc_core.volumes import _gathered


@pytest.fixture(scope="module")
def ops(golden):
    return load_file(golden / "panohead" / "ops.safetensors")


@pytest.fixture(scope="module")
def cases(golden):
    return json.loads((golden / "panohead" / "ops.json").read_text())


@pytest.fixture
def check(ops, parity):
    return lambda name, actual, tolerance=1e-5: parity.check(name, actual, ops[name], tolerance, "ops")


def test_upfirdn2d(ops, cases, check):
    check("fir.f1331", fir_filter(), 1e-6)
    for i, case in enumerate(cases["upfirdn2d"]):
        up, down = (tuple(v) if isinstance(v, list) else v for v in (case["up"], case["down"]))
        kernel = ops[f"fir.{case['f']}"]
        y = upfirdn2d(ops["upfirdn2d.x"], kernel, up, down, tuple(case["padding"]), case["gain"], case["flip_filter"])
        check(f"upfirdn2d.case{i}.y", y)
    check("upsample2d.y", upsample2d(ops["upfirdn2d.x"], fir_filter()))


def test_bias_act(ops, cases, check):
    for i, case in enumerate(cases["bias_act"]):
        y = bias_act(ops["modconv.x"], ops["bias_act.b"], case["act"], case["gain"], case["clamp"])
        check(f"bias_act.case{i}.y", y, 1e-6)


def test_fully_connected(ops, cases, check):
    for i, case in enumerate(cases["fc"]):
        layer = FullyConnectedLayer(10, 7, case["activation"], case["lr_multiplier"])
        layer.load_state_dict({name: ops[f"fc.case{i}.{name}"] for name in ("weight", "bias")})
        check(f"fc.case{i}.y", layer(ops["fc.x"]))


def test_modulated_convolution(ops, check):
    x, w, styles = ops["modconv.x"], ops["modconv.w"], ops["modconv.styles"]
    for label, fused in (("fused", True), ("unfused", False)):
        y = modulated_conv2d(x, w, styles, ops["modconv.noise8"], fused=fused)
        check(f"modconv.up1_demod_noise.{label}.y", y)
        y = modulated_conv2d(x, w, styles, ops["modconv.noise16"], up=True, kernel=fir_filter(), fused=fused)
        check(f"modconv.up2_demod_noise.{label}.y", y)
        y = modulated_conv2d(x, ops["modconv.w_rgb"], styles / math.sqrt(6), demodulate=False, fused=fused)
        check(f"modconv.rgb_nodemod.{label}.y", y)
    check("modconv.up1_demod_noise_batch.fused.y", modulated_conv2d(x, w, styles, ops["modconv.noise_batch8"]))
    check("modconv.up1_demod.fp16.y", modulated_conv2d(x.half(), w, styles).float(), 5e-3)


def test_resizing(ops, check):
    for size in (9, 12, 16, 40, 48):
        check(f"interp.aa.to{size}", resize(ops["interp.x24"], size))
        check(f"interp.noaa.to{size}", resize(ops["interp.x24"], size, antialias=False))


def test_stratified_depths(ops, check):
    for name, disparity in (("linear", False), ("disparity", True)):
        jitter = ops[f"stratified.{name}.jitter"]
        depths = stratified_depths(2.25, 3.3, 6, jitter, tuple(jitter.shape[:2]), disparity=disparity)
        check(f"stratified.{name}.depths", depths[..., None], 1e-6)
    bins = stratified_depths(2.25, 3.3, 48, torch.zeros(1, 1, 48), (1, 1))
    check("stratified.linspace_2.25_3.3_48", bins[0, 0], 1e-6)


def test_importance_depths(ops, check):
    depths, weights = ops["importance.z_vals"][..., 0], ops["importance.weights"][..., 0]
    check("importance.samples", importance_depths(depths, weights, 10, ops["importance.u"])[..., None])


def test_marching(ops, check):
    depths, sigma = ops["march.depths"][..., 0], ops["march.densities"][..., 0]
    composite = march(depths, sigma, ops["march.colors"])
    white = 1 - composite.weights.sum(-1, keepdim=True)
    # The reference clamps to the batch's sample depths, which fills empty rays.
    depth = composite.depth.clamp(depths.min(), depths.max())
    for name, colour in (("plain", composite.features), ("white_back", composite.features + white)):
        check(f"march.{name}.weights", composite.weights[..., None])
        check(f"march.{name}.depth", depth[..., None])
        check(f"march.{name}.rgb", colour)


def test_trigrid_lookup(ops, check):
    xyz = ops["sample.xyz"]
    check("sample.projected_coords_box1", plane_coordinates(xyz, 1.0)[0], 1e-7)
    for depth in (1, 2, 3, 4):
        planes = ops[f"sample.planes_D{depth}"]
        check(f"sample.features_D{depth}", lookup(planes, xyz, depth, 1.0))
        check(f"sample.features_D{depth}_box1.4", lookup(planes, xyz, depth, 1.4))
        ones = torch.ones(1, 3, 2 * depth, 8, 8)
        check(f"sample.ones_D{depth}", lookup(ones, xyz, depth, 1.0), 1e-6)
        # What devices without a 5-D grid_sample use.
        volume = planes.reshape(3, 4, depth, 8, 8)
        gathered = _gathered(volume, plane_coordinates(xyz, 1.0).reshape(3, -1, 3), "zeros")
        check(f"sample.features_D{depth}", gathered[None])


def test_crop(ops):
    for box, crop in ((1.0, 0.1), (1.0, 0.2), (1.2, 0.1)):
        mask = crop_mask(ops["crop.xyz"], RenderOptions(box_warp=box, crop=crop))
        assert torch.equal(mask, ops[f"crop.mask_bw{box:g}_t{crop}"].bool()), (box, crop)
