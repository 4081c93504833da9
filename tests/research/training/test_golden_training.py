"""Optimiser, discriminator and losses against the reference vectors."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.metrics.lpips import LPIPS
from dualenc_core.research.training.discriminator import TriplaneDiscriminator, r1_penalty
from dualenc_core.research.training.losses import (
    discriminator_loss,
    generator_loss,
    l2,
)
from dualenc_core.research.training.ranger import Ranger

NAMES = ("scalar", "vec", "mat", "conv", "col")


@pytest.mark.parametrize("lr", ["0.01", "0.0001"])
def test_ranger(vectors, parity, lr):
    golden = vectors("ranger")
    parameters = {n: torch.nn.Parameter(golden[f"init/{n}"].clone()) for n in NAMES}
    optimiser = Ranger(parameters.values(), lr=float(lr))
    pairs = {}
    for step in range(26):
        for name, parameter in parameters.items():
            parameter.grad = golden[f"grad/{name}"][step].clone()
        optimiser.step()
        for name, parameter in parameters.items():
            pairs[f"traj/{name}/{step}"] = (parameter.detach().clone(), golden[f"lr{lr}/traj/{name}"][step])
    for name, parameter in parameters.items():
        state = optimiser.state[parameter]
        for key, own in (("slow", "slow_buffer"), ("exp_avg", "exp_avg"), ("exp_avg_sq", "exp_avg_sq")):
            pairs[f"{key}/{name}"] = (state[own], golden[f"lr{lr}/{key}/{name}"])
    assert torch.equal(parameters["col"], golden["init/col"])
    parity(f"Ranger lr {lr}", pairs, 1e-6, absolute=True)


@pytest.mark.parametrize("stride", [1, 2])
def test_discriminator(rule, vectors, parity, stride):
    golden = vectors("discriminator_derived")
    shapes = rule.keys("TriplaneDiscriminator_derived")
    state = rule.fill(shapes)
    real, fake = (rule.image(name, (3, 288, 32, 32)) for name in ("d_real", "d_fake"))
    pairs = {}
    for mode in ("eval", "train"):
        network = TriplaneDiscriminator(stride=stride)
        assert {k: list(v.shape) for k, v in network.state_dict().items()} == shapes
        assert sum(p.numel() for p in network.parameters()) == 1_720_576
        network.load_state_dict(state)
        network.train(mode == "train")
        a, b = network(real), network(fake)
        prefix = f"s{stride}/{mode}/"
        pairs[prefix + "real_logits"] = (a, golden[prefix + "real_logits"])
        pairs[prefix + "fake_logits"] = (b, golden[prefix + "fake_logits"])
        pairs[prefix + "d_loss"] = (discriminator_loss(a, b)[None], golden[prefix + "d_loss"])
        if mode == "train":
            for key in ("mean", "var"):
                name = f"{prefix}bn3_running_{key}_after_real_then_fake"
                pairs[name] = (getattr(network[3], f"running_{key}").clone(), golden[name])
        penalty = r1_penalty(network, real)
        pairs[prefix + "r1_raw"] = (penalty[None], golden[prefix + "r1_raw"])
        pairs[prefix + "r1_scaled"] = (80 * penalty[None], golden[prefix + "r1_scaled"])
    parity(f"discriminator stride {stride} (derived)", pairs, 1e-4)


def test_losses(vectors, parity):
    golden = vectors("losses")
    y, x = golden["mirror/y_hat"], golden["mirror/x_mirror"]
    real, fake = golden["gan/real_logits"], golden["gan/fake_logits"]
    values = {
        "l2": l2(y, x),
        "gan/d_loss": discriminator_loss(real, fake),
        "gan/g_loss": generator_loss(fake),
    }
    parity("losses", {key: (value[None], golden[key]) for key, value in values.items()}, 1e-6)


@torch.no_grad()
def test_lpips(rule, vectors, parity):
    golden = vectors("lpips_alex_rule")
    widths = (64, 192, 384, 256, 256)
    kernels = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    shapes = {f"features.{i}.weight": list(s) for i, s in kernels.items()}
    shapes |= {f"features.{i}.bias": [s[0]] for i, s in kernels.items()}
    linear = {
        f"lin{k}.model.1.weight": torch.from_numpy(0.5 * rule.uniform(f"lin{k}", c)).float().view(1, c, 1, 1)
        for k, c in enumerate(widths)
    }
    network = LPIPS(rule.fill(shapes), linear)
    a, b = (rule.image(name, (2, 3, 256, 256)) for name in ("input3", "target3"))
    pairs = {
        "lpips": (network(a, b)[None], golden["lpips"]),
        "lpips_single0": (network(a[:1], b[:1])[None], golden["lpips_single0"]),
    }
    for k, features in enumerate(network.features(a)):
        pairs[f"normfeat{k}/slice"] = (features[:, ::16, ::3, ::3], golden[f"normfeat{k}/slice"])
    parity("LPIPS (AlexNet, rule weights)", pairs, 1e-5)
