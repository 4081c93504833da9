"""Small configurations of the same classes, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.encoders import (
    ArcFace,
    GradualStyleEncoder,
    SingleStyleEncoder,
    StyleConfig,
    TriPlaneConfig,
    TriPlaneEncoder,
    TrunkConfig,
    identity_crop,
)
from dualenc_core.errors import CheckpointError, DualEncError

SMALL = TrunkConfig(widths=(8, 16, 16, 32), blocks=(1, 2, 1, 1), input_size=64)


@pytest.mark.parametrize("n_styles", [8, 10, 12])
def test_small_style_encoder(n_styles):
    encoder = GradualStyleEncoder(StyleConfig(SMALL, n_styles=n_styles, w_dim=24, head_width=16)).eval()
    assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, n_styles, 24)
    # Heads read 4², 8² and 16² maps: two, three and four halvings.
    assert [len(encoder.styles[i].convs) // 2 for i in (0, 3, 7)] == [2, 3, 4]


def test_single_style_encoder_gives_one_vector():
    assert SingleStyleEncoder(StyleConfig(SMALL, "w", w_dim=24)).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 24)


@pytest.mark.parametrize("upsampling", ["nearest", "pixelshuffle"])
@pytest.mark.parametrize("plane_size", [32, 64, 128])
def test_small_triplane_encoder(upsampling, plane_size):
    trunk = TrunkConfig(in_channels=9, widths=(32, 32, 32, 32), blocks=(1, 1, 1, 1), input_size=64)
    encoder = TriPlaneEncoder(TriPlaneConfig(trunk, 2, upsampling, 36, plane_size)).eval()
    planes = torch.randn(1, 36, plane_size, plane_size)
    out = encoder(torch.randn(1, 9, 64, 64), planes)
    assert out.shape == planes.shape
    with pytest.raises(DualEncError, match="planes have shape"):
        encoder(torch.randn(1, 9, 64, 64), planes[:, :12])


@pytest.mark.parametrize("shape", [(1, 3, 128, 128), (1, 3, 64, 32), (1, 1, 64, 64), (3, 64, 64)])
def test_another_input_size_is_refused(shape):
    with pytest.raises(DualEncError, match=r"expected \[N,3,64,64\]"):
        SingleStyleEncoder(StyleConfig(SMALL, "w"))(torch.zeros(shape))


def test_arcface_trunk_initialises_other_inputs():
    source = SingleStyleEncoder(StyleConfig(SMALL, "w"))
    nine = TriPlaneEncoder(
        TriPlaneConfig(TrunkConfig(9, SMALL.widths, SMALL.blocks, input_size=64), plane_channels=12, plane_size=64)
    )
    nine.load_arcface(source.state_dict())
    stem = nine.input_layer[0].weight
    assert torch.equal(stem[:, :3], source.input_layer[0].weight)
    assert 0.8 < float(stem[:, 3:].detach().std()) < 1.2
    assert torch.equal(nine.body[2].res_layer[1].weight, source.body[2].res_layer[1].weight)
    with pytest.raises(CheckpointError, match="not a fitting ArcFace trunk"):
        nine.load_arcface({"fc.weight": torch.zeros(1)})


def test_arcface_stays_frozen_and_normalises():
    network = ArcFace(TrunkConfig(widths=(8, 8, 8, 8), blocks=(1, 1, 1, 1), input_size=112)).train()
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    portrait = (torch.rand(2, 3, 512, 512) * 2 - 1).requires_grad_()
    features = network.identity(portrait)
    assert torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)
    features[:, 0].sum().backward()
    # The crop at 256 is rows 35..222, columns 32..219; outside it nothing matters.
    rows = portrait.grad.abs().sum((0, 1, 3)) > 0
    columns = portrait.grad.abs().sum((0, 1, 2)) > 0
    assert (int(rows.nonzero()[0]), int(rows.nonzero()[-1])) == (70, 445)
    assert (int(columns.nonzero()[0]), int(columns.nonzero()[-1])) == (64, 439)
    for bad in (torch.zeros(1, 3, 200, 200), torch.zeros(1, 1, 256, 256), torch.zeros(3, 256, 256)):
        with pytest.raises(DualEncError, match="portrait"):
            identity_crop(bad)
    with pytest.raises(CheckpointError, match="ArcFace"):
        ArcFace.from_state({"x": torch.zeros(1)})


def _with_statistics(encoder):
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            for tensor in (module.running_mean, module.bias, module.weight):
                torch.nn.init.normal_(tensor, 0.3, 0.3)
    return encoder.eval()


@pytest.mark.parametrize("squeeze_excite", [True, False])
def test_folded_batch_norms_change_nothing_but_rounding(squeeze_excite):
    torch.manual_seed(0)
    trunk = TrunkConfig(widths=(8, 16, 16, 32), blocks=(2, 2, 1, 1), input_size=64, squeeze_excite=squeeze_excite)
    encoder = _with_statistics(GradualStyleEncoder(StyleConfig(trunk, n_styles=8, w_dim=24, head_width=16)))
    keys, image = list(encoder.state_dict()), torch.randn(2, 3, 64, 64)
    plain = encoder(image)
    assert plain.requires_grad
    with torch.no_grad():
        folded = encoder(image)
        assert torch.allclose(folded, plain, rtol=1e-5, atol=1e-5 * float(plain.abs().max()))
        assert not torch.equal(folded, torch.zeros_like(folded))
        kept = encoder._folded
        assert torch.equal(encoder(image), folded) and encoder._folded is kept
        # A step of training, or other weights, are noticed.
        encoder.body[0].res_layer[4].running_mean.add_(0.5)
        moved = encoder(image)
    assert torch.allclose(moved, encoder(image), rtol=1e-5, atol=1e-5 * float(plain.abs().max()))
    assert not torch.allclose(moved, folded, atol=1e-3)
    assert list(encoder.state_dict()) == keys


def test_training_moves_the_statistics_of_every_norm():
    torch.manual_seed(0)
    encoder = _with_statistics(SingleStyleEncoder(StyleConfig(SMALL, "w", w_dim=24))).train()
    before = encoder.body[0].res_layer[4].running_mean.clone()
    with torch.no_grad():
        encoder(torch.randn(2, 3, 64, 64))
    assert not torch.equal(encoder.body[0].res_layer[4].running_mean, before)
