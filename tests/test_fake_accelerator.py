"""The pretended device refuses what a real one refuses."""

import pytest
import torch

from tests.fake_accelerator import MixedDevices, accelerator


def test_the_fake_accelerator_notices_mixed_devices():
    with accelerator() as device:
        here, there = torch.rand(3), torch.rand(3, device=device)
        assert there.device == device and (2 * there).sum().device == device and there.cpu().device != device
        assert torch.zeros_like(there).device == here.to(there).device == device
        for mixed in (
            lambda: here + there,
            lambda: torch.cat([there, here]),
            lambda: here[there.long()],
            lambda: there.numpy(),
            lambda: torch.rand(3, generator=torch.Generator(device)),
            lambda: torch.nn.Linear(3, 1)(there),
        ):
            with pytest.raises(MixedDevices):
                mixed()
