from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.images import shrink_area
from dualenc_core.inversion.perceptual import find_distance, laplacian_pyramid, pyramid
from dualenc_core.metrics.lpips import BACKBONES, LPIPS

WIDTHS = (64, 128, 256, 512, 512)


def vgg_state(scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Random VGG-16 convolutions, few enough to be quick (the widths of LPIPS's linear layers are kept)."""
    rng = torch.Generator().manual_seed(0)
    state, channels = {}, 3
    for group, width in zip(BACKBONES["vgg"].groups, WIDTHS, strict=True):
        for number in group:
            gain = scale * (2 / (9 * channels)) ** 0.5
            state[f"features.{number}.weight"] = torch.randn(width, channels, 3, 3, generator=rng) * gain
            state[f"features.{number}.bias"] = torch.zeros(width)
            channels = width
    return state


def picture(seed: int, size: int = 32) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_without_weights_the_pyramid_says_so(tmp_path):
    distance = find_distance(tmp_path)
    assert distance.name == "laplacian-pyramid"
    assert (
        "LPIPS is not used" in distance.note and "vgg16-397923af.pth" in distance.note and "https://" in distance.note
    )


def test_a_file_that_was_asked_for_must_be_there_and_be_vgg(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing\.pth"):
        find_distance(tmp_path, path=tmp_path / "missing.pth")
    torch.save({"features.0.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the weights of LPIPS with VGG-16"):
        find_distance(tmp_path, path=tmp_path / "other.pth")


def test_a_damaged_file_in_the_weights_folder_is_not_passed_over(tmp_path):
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError):
        find_distance(tmp_path)


def test_lpips_is_that_of_the_package(tmp_path):
    """The same network, run by the package itself."""
    lpips = pytest.importorskip("lpips")
    state = vgg_state()
    torch.save(state, tmp_path / "vgg16-397923af.pth")
    distance = find_distance(tmp_path)
    assert (distance.name, distance.note) == ("lpips-vgg", "")
    # Without the weights of VGG's classifier, which LPIPS does not use but which would take seconds to draw.
    with torch.device("meta"):
        reference = lpips.LPIPS(net="vgg", pnet_rand=True, pretrained=False, verbose=False)
    reference.scaling_layer = lpips.ScalingLayer()
    linear = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
    reference.load_state_dict(torch.load(linear, map_location="cpu", weights_only=True), strict=False, assign=True)
    loaded = {}
    for k, group in enumerate(BACKBONES["vgg"].groups, start=1):
        for number in group:
            loaded[f"slice{k}.{number}.weight"] = state[f"features.{number}.weight"]
            loaded[f"slice{k}.{number}.bias"] = state[f"features.{number}.bias"]
    reference.net.load_state_dict(loaded, assign=True)
    reference.eval().requires_grad_(False)
    a, b = picture(1), picture(2)
    assert float(distance(a, b)) == pytest.approx(float(reference(a, b)), rel=1e-4)
    assert float(distance(a, a)) == 0


def test_vgg_gives_gradients_to_the_picture_only():
    if importlib.util.find_spec("lpips") is None:
        pytest.skip("the package lpips is not installed")
    linear = {f"lin{k}.model.1.weight": torch.rand(1, width, 1, 1) for k, width in enumerate(WIDTHS)}
    network = LPIPS(vgg_state(), linear, "vgg")
    image = picture(1).requires_grad_(True)
    network(image, picture(2)).backward()
    assert image.grad.abs().max() > 0 and all(p.grad is None for p in network.parameters())


def test_the_pyramid_grows_with_blur_and_shift_and_is_zero_for_equal_pictures():
    sharp = picture(3, 64)
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    more = torch.nn.functional.avg_pool2d(blurred, 5, 1, 2)
    assert float(laplacian_pyramid(sharp, sharp)) == 0
    assert 0 < float(laplacian_pyramid(blurred, sharp)) < float(laplacian_pyramid(more, sharp))
    assert float(laplacian_pyramid(sharp + 0.1, sharp)) > 0


def test_larger_pictures_are_averaged_to_256_and_shapes_must_agree():
    large = picture(1, 512)
    assert torch.allclose(shrink_area(large, 256), torch.nn.functional.avg_pool2d(large, 2), atol=1e-6)
    assert shrink_area(large[..., :64, :64], 256).shape[-1] == 64
    with pytest.raises(DualEncError, match="expected the same"):
        pyramid()(large, large[:, :, :64, :64])
