"""Details that move with the surface."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.editing.carry import carried, looked_up, motion
from dualenc_core.people.relief import CHANNELS, FEATURES


def _texture(size: int, seed: int = 0, channels: int = 3) -> torch.Tensor:
    noise = torch.randn(1, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (size, size), mode="bicubic")


@pytest.mark.parametrize("shift", [(3.0, 0.0), (-1.5, 2.5), (0.0, -4.0)])
def test_a_shift_is_found(shift):
    before = _texture(64)
    move = torch.tensor(shift)[None, :, None, None].expand(1, 2, 64, 64)
    found = motion(before, looked_up(before, move))[..., 12:-12, 12:-12]
    assert float((found - move[..., 12:-12, 12:-12]).abs().mean()) < 0.2


def test_what_does_not_move_stays():
    before = _texture(64)
    after = before.clone()
    moved = looked_up(before, torch.tensor([3.0, 0.0])[None, :, None, None].expand(1, 2, 64, 64))
    after[..., :32] = moved[..., :32]
    found = motion(before, after)
    assert float(found[..., 44:].abs().max()) < 0.3 and float(found[:, 0, 12:-12, 8:24].mean()) > 2
    assert torch.equal(motion(torch.ones(1, 2, 32, 32), torch.ones(1, 2, 32, 32)), torch.zeros(1, 2, 32, 32))


def test_a_sides_details_move_with_that_side_alone():
    depth, size = 3, 64
    planes = torch.zeros(1, 3, FEATURES + 2, depth, size, size)
    move = torch.tensor([0.0, 3.0])[None, :, None, None].expand(1, 2, size, size)
    planes[:, 0, :CHANNELS] = _texture(size, channels=CHANNELS)[:, :, None]
    after = planes.clone()
    after[:, 0, :CHANNELS] = looked_up(planes[:, 0, :CHANNELS].flatten(1, 2), move).unflatten(1, (CHANNELS, depth))
    residual = torch.randn(planes.shape, generator=torch.Generator().manual_seed(1))
    flat = [part.flatten(2, 3) for part in (residual, planes, after)]
    result = carried(*flat, depth).unflatten(2, (-1, depth))
    wanted = looked_up(residual[:, 0, :CHANNELS].flatten(1, 2), move).unflatten(1, (CHANNELS, depth))
    inside = (..., slice(12, -12), slice(12, -12))
    error = (result[:, 0, :CHANNELS] - wanted)[inside].square().mean().sqrt()
    stay = (residual[:, 0, :CHANNELS] - wanted)[inside].square().mean().sqrt()
    assert float(error) < 0.3 * float(stay)
    assert torch.equal(result[:, 0, CHANNELS:], residual[:, 0, CHANNELS:])
    assert torch.equal(result[:, 1:], residual[:, 1:])
    assert carried(flat[0], flat[1], flat[1], depth) is flat[0]
