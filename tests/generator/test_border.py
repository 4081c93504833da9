"""The border of super-resolved pictures: no frame, in any way of rendering; the published network's as it is."""

from __future__ import annotations

import pytest
import torch

from dualenc_core import load_encoder, load_generator
from dualenc_core.camera import Camera
from dualenc_core.generator import PanoHead
from dualenc_core.generator.config import SuperResolutionConfig
from tests.small import small_generator
from tests.stylised import ENCODER_1, ENCODER_2, stylised_generator


@pytest.fixture(scope="module")
def trained() -> PanoHead:
    return stylised_generator()


def ring(image: torch.Tensor, inset: int) -> torch.Tensor:
    """Mean colour of the pixels at a distance from the border, [3]; the lower side shows the bust and is left out."""
    top, left, right = image[:, inset, 20:-20], image[:, 20:-120, inset], image[:, 20:-120, -1 - inset]
    return torch.cat([top, left, right], dim=1).mean(1)


@pytest.mark.parametrize("quality", ["exact", "high", "reference"])
@pytest.mark.parametrize("background", ["generator", (0.2, 0.5, 0.9)])
def test_there_is_no_frame(trained, quality: str, background) -> None:
    """Zeros beyond the border gave three pixels that were darker by up to .3 of the range of 2."""
    triplane = trained.synthesize(trained.mapping(trained.latents(3, 1), truncation_psi=0.7))
    options = {"resolution": 24, "samples": 6, "background": background, "quality": quality}
    with torch.no_grad():
        image = trained.render(triplane, Camera.look_at(20.0), **options).image[0]
    inner = ring(image, 6)
    for inset in range(4):
        assert (ring(image, inset) - inner).abs().max() < 0.03, inset


def test_the_fast_way_has_the_border_of_the_plain_one(trained) -> None:
    triplane = trained.synthesize(trained.mapping(trained.latents(4, 1), truncation_psi=0.7))
    options = {"resolution": 24, "samples": 6}
    with torch.no_grad():
        pictures = [
            trained.render(triplane, Camera.look_at(), quality=q, **options).image for q in ("exact", "reference")
        ]
    difference = (pictures[0] - pictures[1]).abs()
    assert difference[..., :8].max() < 2e-3 and difference[..., :8, :].max() < 2e-3


def test_the_published_network_keeps_the_border_that_it_learnt() -> None:
    assert not SuperResolutionConfig().continues
    assert SuperResolutionConfig(hidden_widths=(32, 16)).continues
    assert not SuperResolutionConfig(hidden_widths=(32, 16), noise="const").continues
    sr = SuperResolutionConfig(input_resolution=16, hidden_widths=(256, 128), w_dim=16)
    network = PanoHead(small_generator(sr=sr)).eval().superresolution
    generator = torch.Generator().manual_seed(0)
    raw, features = (torch.randn(1, n, 16, 16, generator=generator) for n in (3, network.block0.conv0.weight.shape[1]))
    ws = torch.randn(1, 4, 16, generator=generator)
    with torch.no_grad():
        assert torch.equal(network.picture(raw, features, ws), network(raw, features, ws))


def test_new_options_leave_fingerprints_as_they_are(trained) -> None:
    """Encoders and saved heads name the generator by it; the encoders were trained for theirs."""
    bundled = load_generator("demo")
    for generator, encoders in ((trained, (ENCODER_1, ENCODER_2)), (bundled, ("demo-e1", "demo-e2"))):
        for name in encoders:
            assert load_encoder(name).config.generator == generator.fingerprint, name
