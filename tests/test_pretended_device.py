"""A head is inverted, drawn, stitched and saved without a tensor on the wrong device.

On a machine without a GPU (`tests/gpu` needs one): the devices are pretended (`tests.fake_accelerator`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import dualenc_core as core
from dualenc_core import Camera, procedural
from dualenc_core.generator.prepared import QUALITIES
from tests.fake_accelerator import accelerator


@pytest.fixture(scope="module")
def device() -> Iterator[torch.device]:
    with accelerator() as device, torch.inference_mode():
        yield device


@pytest.fixture(scope="module")
def inverted(device):
    generator = core.load_generator("demo", device=device)
    encoders = [core.load_encoder(f"demo-e{number}").to(device) for number in (1, 2)]
    camera = Camera.look_at(yaw=20.0)
    photo = procedural.render(procedural.sample_heads(1, 1_000_003), camera, 128)
    heads = [encoder.encode(generator, photo.image, camera, photo.alpha) for encoder in encoders]
    return generator, heads, camera


@pytest.mark.parametrize("quality", QUALITIES)
def test_pictures(inverted, device, quality):
    generator, heads, _ = inverted
    views = Camera.look_at(yaw=[0.0, 150.0])
    for background in ("generator", "none", (0.2, 0.4, 0.6)):
        picture = generator.render(heads[0], views, resolution=24, background=background, quality=quality)
        assert picture.image.device == picture.depth.device == device


def test_hidden_colours(inverted, device):
    generator, heads, camera = inverted
    seen = core.visibility(generator, heads[0], camera, resolution=40)
    # Of the bundled encoders it would leave heads as they are, which their meta says.
    matched = core.match_hidden_colours(generator, heads[0], heads[1].replace(meta={}), seen)
    assert matched.planes.device == device and not torch.equal(matched.planes, heads[1].planes)


@pytest.mark.parametrize("find", [core.occlusion_mask, core.visibility])
def test_stitched_heads(inverted, device, find, tmp_path):
    generator, heads, camera = inverted
    stitched = core.stitch(*heads, find(generator, heads[0], camera, resolution=40))
    picture = generator.render(stitched, Camera.look_at(yaw=180.0), resolution=24, quality="exact")
    assert picture.image.device == device
    stitched.save(tmp_path / "head.safetensors")
    again = core.Triplane.load(tmp_path / "head.safetensors").to(device)
    assert torch.equal(again.planes, stitched.planes)
