from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dualenc_core.camera import Camera
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.point_weight import LabelVolume, Visibility
from dualenc_core.triplane import Overlay, Triplane, TriplaneMask


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def triplane() -> Triplane:
    camera = Camera.look_at([10, 20])
    seen = Visibility(camera, rand(2, 1, 5, 5) + 2, rand(2, 1, 5, 5), tolerance=0.05, inverted=True)
    overlays = (
        Overlay(rand(2, 3, 12, 8, 8), seen),
        Overlay(rand(2, 3, 12, 8, 8), LabelVolume(rand(2, 1, 4, 4, 4), 0.9)),
    )
    return Triplane(rand(2, 3, 12, 8, 8), rand(2, 6, 16), 3, "abc", {"encoder": "é", "steps": [1, 2]}, overlays)


def test_shape_words(triplane):
    assert (len(triplane), triplane.size, triplane.features) == (2, 8, 4)


def test_indexing_takes_overlays_along(triplane):
    one = triplane[1]
    assert len(one) == 1 and torch.equal(one.planes, triplane.planes[1:])
    assert torch.equal(one.overlays[0].weight.camera.label, triplane.overlays[0].weight.camera.label[1:])
    assert torch.equal(one.overlays[1].weight.volume, triplane.overlays[1].weight.volume[1:])
    assert torch.equal(triplane[-1].ws, one.ws) and len(triplane[:1]) == 1
    with pytest.raises(IndexError):
        triplane[2]


def test_file_round_trip(triplane, tmp_path):
    path = triplane.save(tmp_path / "new" / "head.safetensors")
    back = Triplane.load(path)
    assert torch.equal(back.planes, triplane.planes) and torch.equal(back.ws, triplane.ws)
    assert (back.depth, back.generator, dict(back.meta)) == (3, "abc", {"encoder": "é", "steps": [1, 2]})
    points = rand(2, 9, 3) - 0.5
    for a, b in zip(back.overlays, triplane.overlays, strict=True):
        assert torch.equal(a.planes, b.planes) and torch.equal(a.weight(points), b.weight(points))
        assert a.weight.numbers() == b.weight.numbers()


def test_saving_twice_gives_the_same_bytes_and_half_is_smaller(triplane, tmp_path):
    first, second = (triplane.save(tmp_path / name).read_bytes() for name in ("a.safetensors", "b.safetensors"))
    assert first == second
    half = triplane.save(tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.7 * len(first)
    assert torch.allclose(Triplane.load(half).planes, triplane.planes, atol=1e-3)
    assert Triplane.load(half).planes.dtype == torch.float32


def test_nan_is_not_written(triplane, tmp_path):
    path = tmp_path / "head.safetensors"
    triplane.save(path)
    before = path.read_bytes()
    with pytest.raises(DualEncError, match="planes has NaN"):
        triplane.replace(planes=triplane.planes * float("nan")).save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["head.safetensors"]


def test_broken_files(triplane, tmp_path):
    path = triplane.save(tmp_path / "head.safetensors")
    data = path.read_bytes()
    for name, content in {"short": data[:-100], "empty": b"", "text": b"hello", "header": data[:20]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read as a triplane"):
            Triplane.load(tmp_path / name)
    with pytest.raises(CheckpointError, match="does not exist"):
        Triplane.load(tmp_path / "nowhere")
    save_file({"planes": triplane.planes}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="expected 'dualenc-triplane/1'"):
        Triplane.load(tmp_path / "foreign")
    with safe_open(str(path), "pt") as file:
        ((key, _),) = file.metadata().items()
    for header, message in (
        ('{"format": "dualenc-triplane/1"}', "not a usable triplane"),
        ("{", "cannot be read as a triplane"),
        ("[]", "cannot be read as a triplane"),
    ):
        save_file({"planes": triplane.planes}, tmp_path / "half", {key: header})
        with pytest.raises(CheckpointError, match=message):
            Triplane.load(tmp_path / "half")
    with pytest.raises(CheckpointError, match="not a triplane mask"):
        TriplaneMask.load(path)


def test_mask_round_trip_and_channel_order(tmp_path):
    mask = TriplaneMask(rand(1, 3, 3, 8, 8), {"kind": "occlusion"})
    back = TriplaneMask.load(mask.save(tmp_path / "mask.safetensors"))
    assert torch.equal(back.mask, mask.mask) and dict(back.meta) == {"kind": "occlusion"}
    half = mask.save(tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.6 * (tmp_path / "mask.safetensors").stat().st_size
    assert (TriplaneMask.load(half).mask - mask.mask).abs().max() < 1e-3
    channels = mask.channels(4)
    assert channels.shape == (1, 3, 12, 8, 8)
    for feature in range(4):
        assert torch.equal(channels[:, :, feature * 3 + 2], mask.mask[:, :, 2])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Triplane(rand(2, 12, 8, 8), rand(2, 6, 16)), "triplane planes have shape"),
        (lambda: Triplane(rand(2, 3, 12, 8, 4), rand(2, 6, 16)), "triplane planes have shape"),
        (lambda: Triplane(rand(2, 3, 10, 8, 8), rand(2, 6, 16)), "has 10 channels, expected a multiple of its depth 3"),
        (lambda: Triplane(rand(2, 3, 12, 8, 8), rand(2, 6, 16), depth=0), "expected a multiple of its depth 0"),
        (lambda: Triplane(rand(2, 3, 12, 8, 8), rand(1, 6, 16)), "triplane ws has shape"),
        (
            lambda: Triplane(
                rand(2, 3, 12, 8, 8),
                rand(2, 6, 16),
                overlays=(Overlay(rand(1, 3, 12, 8, 8), LabelVolume(rand(1, 1, 2, 2, 2))),),
            ),
            "overlay planes have shape",
        ),
        (lambda: TriplaneMask(rand(1, 3, 8, 8)), "triplane mask has shape"),
    ],
)
def test_bad_shapes(build, message):
    with pytest.raises(DualEncError, match=message):
        build()


def test_visibility_formula():
    # One pixel: surface at 2.6, seen straight on; the second half of the picture is empty.
    depth, alpha = torch.full((1, 1, 1, 2), 2.6), torch.tensor([[[[1.0, 0.0]]]])
    seen = Visibility(Camera.look_at(), depth, alpha, tolerance=0.04, softness=0.015)
    left = -0.25 / 4.2647  # the middle of the left pixel, at the pivot's distance per unit of z-depth
    z = torch.tensor([2.5, 2.64, 2.8])
    points = torch.stack([left * z, torch.zeros(3), 2.7 - z], dim=-1)[None]
    distance = (points - seen.camera.position).norm(dim=-1)
    expected = torch.sigmoid((2.6 + 0.04 - distance) / 0.015)
    assert torch.allclose(seen(points)[..., 0], expected, atol=1e-4)
    assert torch.allclose(seen.complement(points), 1 - seen(points))
    assert torch.allclose(seen.complement.complement(points), seen(points))
    # Every point on an empty ray is visible; nothing is outside the picture or behind the camera.
    right = points * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(seen(right), torch.ones(1, 3, 1))
    assert seen(torch.tensor([[[2.0, 0, 0], [0, 0, 3.0]]])).abs().max() == 0


def test_label_volume_is_zero_outside():
    volume = LabelVolume(torch.ones(1, 1, 4, 4, 4), box=0.5)
    points = torch.tensor([[[0.0, 0, 0], [0.1, -0.1, 0.15], [0.4, 0, 0]]])
    assert torch.allclose(volume(points)[0, :, 0], torch.tensor([1.0, 1, 0]))
    ramp = torch.linspace(0, 1, 5).expand(1, 1, 5, 5, 5)
    # The last axis of the volume is x.
    value = LabelVolume(ramp)(torch.tensor([[[0.2, 0.1, -0.1], [-0.2, 0.1, -0.1]]]))
    assert torch.allclose(value[0, :, 0], torch.tensor([0.75, 0.25]), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"softness": [1]}, "softness"),
        ({"softness": "0.1"}, "softness"),
        ({"softness": float("nan")}, "softness"),
        ({"inverted": 1}, "inverted"),
        ({"more": 1}, "more"),
        ({"tolerance": 10**400}, "too large"),
    ],
)
def test_numbers_of_a_weight_that_it_cannot_have(triplane, tmp_path, change, words):
    n, size = len(triplane), (8, 8)
    seen = Visibility(Camera.look_at([0.0] * n), torch.full((n, 1, *size), 2.7), torch.ones(n, 1, *size))
    path = triplane.replace(overlays=(Overlay(triplane.planes, seen),)).save(tmp_path / "head.safetensors")
    assert Triplane.load(path).overlays[0].weight.softness == seen.softness
    tensors = load_file(path)
    with safe_open(str(path), "pt") as file:
        header = json.loads(file.metadata()["dualenc"])
    header["overlays"][0]["numbers"] |= change
    save_file(tensors, path, {"dualenc": json.dumps(header)})
    with pytest.raises(CheckpointError, match=words):
        Triplane.load(path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_planes_that_are_no_floating_point_numbers(triplane, tmp_path, dtype):
    path = triplane.save(tmp_path / "head.safetensors")
    tensors = load_file(path)
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    save_file({**tensors, "planes": tensors["planes"].to(dtype)}, path, metadata)
    with pytest.raises(CheckpointError, match="planes is of type"):
        Triplane.load(path)


def test_overlays_of_the_same_tensor_are_saved(triplane, tmp_path):
    volume = LabelVolume(rand(2, 1, 4, 4, 4), 0.9)
    shared = triplane.replace(overlays=(Overlay(triplane.planes, volume), Overlay(triplane.planes[:], volume)))
    back = Triplane.load(shared.save(tmp_path / "head.safetensors"))
    assert all(torch.equal(overlay.planes, triplane.planes) for overlay in back.overlays)
