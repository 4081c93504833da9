from __future__ import annotations

import torch

from dualenc_core import devices
from dualenc_core.devices import full_float32, in_full_float32

PLACE = getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)
NAME = "fp32_precision" if hasattr(torch.backends.cudnn, "conv") else "allow_tf32"


def test_the_setting_of_the_process_comes_back():
    before = getattr(PLACE, NAME)
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32():
            assert getattr(PLACE, NAME) in ("ieee", False)
            assert torch.get_float32_matmul_precision() == "highest"
        assert getattr(PLACE, NAME) == before and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_only_inference_asks_for_it(monkeypatch):
    class Layer(torch.nn.Module):
        @in_full_float32
        def look(self) -> object:
            return getattr(PLACE, NAME)

    before = getattr(PLACE, NAME)
    layer = Layer().eval()
    # Nothing on this process's GPU, if it has one.
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert layer.look() == before
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert layer.look() in ("ieee", False)
    assert layer.train().look() == before


def test_cpus_take_small_pieces():
    cpu = torch.device("cpu")
    assert devices.frames_at_once(cpu) == 1 and devices.rays_at_once(cpu) == 4096
    assert devices.layout(cpu, torch.float32) == torch.channels_last
