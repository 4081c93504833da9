"""Every network against the reference vectors, with the official names and shapes."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.encoders import (
    ArcFace,
    GradualStyleEncoder,
    SingleStyleEncoder,
    TriPlaneConfig,
    TriPlaneEncoder,
    TrunkConfig,
    identity_crop,
)
from dualenc_core.encoders.arcface import IR_101
from dualenc_core.encoders.bottleneck import Bottleneck, SqueezeExcite
from dualenc_core.encoders.style_encoder import StyleHead, upsample_add
from dualenc_core.encoders.triplane_encoder import DoubleConv, Up
from dualenc_core.encoders.trunk import EqualLinear

NETWORK = 1e-4
MODULE = 2e-6


def load(factory, shapes, state):
    """Build without initial values, check names and shapes, fill."""
    with torch.device("meta"):
        network = factory()
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == shapes
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def recorded(network, names):
    """Outputs of sub-modules during the next forward."""
    outputs = {}
    for name in names:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda _m, _i, out, name=name: outputs.__setitem__(name, out))
    return outputs


def test_fill_rule(rule, vectors, parity):
    golden = vectors("fill_check")
    shapes = rule.keys("GradualStyleEncoder_n14")
    pairs = {"hash": (torch.from_numpy(rule.uniform("probe", 16)), golden["hash/u16"])}
    for key in golden:
        if key.startswith("fill/"):
            name = key.removeprefix("fill/")
            pairs[key] = (rule._entry(name, shapes[name], shapes).flatten()[:16], golden[key])
    sizes = {"input3": (2, 3), "target3": (2, 3), "input6": (1, 6), "input9": (1, 9), "planes96": (1, 96)}
    for name, (batch, channels) in sizes.items():
        image = rule.image(name, (batch, channels, 256, 256))
        pairs[f"image/{name}/first16"] = (image.flatten()[:16], golden[f"image/{name}/first16"])
        pairs[f"image/{name}/last16"] = (image.flatten()[-16:], golden[f"image/{name}/last16"])
        pairs[f"image/{name}/stats"] = (rule.stats(image), golden[f"image/{name}/stats"])
    parity("fill rule", pairs, 1e-7)


SUBMODULES = {
    "ir_16_16_s1": lambda: Bottleneck(16, 16, 1, False),
    "ir_16_16_s2": lambda: Bottleneck(16, 16, 2, False),
    "ir_16_32_s2": lambda: Bottleneck(16, 32, 2, False),
    "ir_se_16_16_s1": lambda: Bottleneck(16, 16, 1),
    "ir_se_16_16_s2": lambda: Bottleneck(16, 16, 2),
    "ir_se_16_32_s2": lambda: Bottleneck(16, 32, 2),
    "se_32": lambda: SqueezeExcite(32),
    "styleblock_16": lambda: StyleHead(6, 5, 5, 16),
    "styleblock_32": lambda: StyleHead(6, 5, 5, 32),
    "styleblock_64": lambda: StyleHead(6, 5, 5, 64),
    "equallinear_lr1": lambda: EqualLinear(7, 5),
    "equallinear_lr0.01": lambda: EqualLinear(7, 5, 0.01),
    "doubleconv_6_5": lambda: DoubleConv(6, 5),
    "up_nearest_f1": lambda: Up(4, 6, 5, 1, "nearest"),
    "up_nearest_f2": lambda: Up(4, 3, 5, 2, "nearest"),
    "up_shuffle_f1": lambda: Up(4, 6, 5, 1, "pixelshuffle"),
    "up_shuffle_f2": lambda: Up(4, 8, 5, 2, "pixelshuffle"),
}


def test_submodules(vectors, parity):
    golden = vectors("submodules")
    covered = {key.split("/")[0] for key in golden}
    assert covered == set(SUBMODULES) | {"upadd_4to8", "upadd_5x7to9x13"}
    pairs = {}
    for name, factory in SUBMODULES.items():
        part = {k.removeprefix(f"{name}/"): v for k, v in golden.items() if k.startswith(f"{name}/")}
        inputs = [part[k] for k in ("in0", "in1") if k in part]
        module = factory()
        module.load_state_dict({k[3:]: v for k, v in part.items() if k.startswith("sd/")}, strict=True)
        pairs[f"{name}/eval"] = (module.eval()(*inputs), part["eval"])
        pairs[f"{name}/train"] = (module.train()(*inputs), part["train"])
        for key, value in part.items():
            if key.startswith("after/"):
                pairs[f"{name}/{key}"] = (module.state_dict()[key[6:]], value)
    for name in ("upadd_4to8", "upadd_5x7to9x13"):
        deep, lateral = golden[f"{name}/in0"], golden[f"{name}/in1"]
        pairs[f"{name}/eval"] = (upsample_add(deep, lateral), golden[f"{name}/eval"])
    parity("submodules", pairs, MODULE)


@torch.no_grad()
def test_gradual_style_encoder(rule, vectors, parity):
    golden = vectors("gradual_style_encoder")
    shapes = rule.keys("GradualStyleEncoder_n14")
    network = load(GradualStyleEncoder, shapes, rule.fill(shapes))
    assert sum(p.numel() for p in network.parameters()) == 209_450_688
    seen = recorded(network, ["input_layer", *(f"body.{i}" for i in range(24))])
    heads = {}
    for index in (0, 3, 7):
        network.styles[index].register_forward_pre_hook(lambda _m, i, index=index: heads.__setitem__(index, i[0]))
    offsets = network(rule.image("input3", (2, 3, 256, 256)))
    average = torch.from_numpy(rule.signed("latent_avg", 512).astype("float32"))
    c1, c2, c3, p2, p1 = seen["body.6"], seen["body.20"], seen["body.23"], heads[3], heads[7]
    assert heads[0] is c3
    pairs = {f"{name}/stats": (rule.stats(out), golden[f"{name}/stats"]) for name, out in seen.items()}
    pairs |= {
        "w_offsets": (offsets, golden["w_offsets"]),
        "w_plus": (offsets + average, golden["w_plus"]),
        "input_layer/slice": (seen["input_layer"][:, ::8, 5::32, 3::32], golden["input_layer/slice"]),
        "c1/slice": (c1[:, ::8, 1::8, 2::8], golden["c1/slice"]),
        "c2/slice": (c2[:, ::8, 1::4, 2::4], golden["c2/slice"]),
        "c3/slice": (c3[:, ::8, 1::2, 2::2], golden["c3/slice"]),
        "p2/slice": (p2[:, ::16, 1::4, 2::4], golden["p2/slice"]),
        "p1/slice": (p1[:, ::16, 1::8, 2::8], golden["p1/slice"]),
        "p2/stats": (rule.stats(p2), golden["p2/stats"]),
        "p1/stats": (rule.stats(p1), golden["p1/stats"]),
    }
    parity("GradualStyleEncoder (W+, 209 M)", pairs, NETWORK)


@torch.no_grad()
def test_single_style_encoder(rule, vectors, parity):
    shapes = rule.keys("BackboneEncoderUsingLastLayerIntoW")
    network = load(SingleStyleEncoder, shapes, rule.fill(shapes))
    w = network(rule.image("input3", (2, 3, 256, 256)))
    parity("single-W encoder", {"w": (w, vectors("backbone_into_w")["w"])}, NETWORK)


@pytest.mark.parametrize(
    ("name", "planes", "upsampling", "version", "keys"),
    [
        ("v2_nearest_96", 96, "nearest", 2, "v2_nearest_96"),
        ("v2_nearest_288", 288, "nearest", 2, "v2_nearest_288_derived"),
        ("v2_pixelshuffle_96", 96, "pixelshuffle", 2, "v2_pixelshuffle_96"),
        ("v2_pixelshuffle_288", 288, "pixelshuffle", 2, "v2_pixelshuffle_288_derived"),
        ("v1_96", 96, "pixelshuffle", 1, "v1_96"),
    ],
)
@torch.no_grad()
def test_triplane_encoder(rule, vectors, parity, name, planes, upsampling, version, keys):
    golden = vectors(f"triplane_encoder_{name}")
    shapes = rule.keys(f"TriPlaneEncoder_{keys}")
    channels = 9 if version == 2 else 6
    config = TriPlaneConfig(TrunkConfig(in_channels=channels), version, upsampling, planes)
    network = load(lambda: TriPlaneEncoder(config), shapes, rule.fill(shapes))
    seen = recorded(network, ["up1", "up2", "up3", "up4", *(f"body.{i}" for i in (2, 6, 20, 21, 23))])
    inputs = rule.image(f"input{channels}", (1, channels, 256, 256))
    tri = rule.image(f"planes{planes}", (1, planes, 256, 256))
    out = network(inputs, tri)
    delta = out - tri if version == 2 else out
    pairs = {f"{key}/stats": (rule.stats(value), golden[f"{key}/stats"]) for key, value in seen.items()}
    steps = {"up1": (16, 4), "up2": (16, 8), "up3": (16, 16), "up4": (8, 16)}
    for key, (c, s) in steps.items():
        pairs[f"{key}/slice"] = (seen[key][:, ::c, 1::s, 2::s], golden[f"{key}/slice"])
    for key, value in (("out", out), ("delta", delta)):
        pairs[f"{key}/slice"] = (value[:, :, 3::24, 5::24], golden[f"{key}/slice"])
        wide = value.double()
        moments = torch.stack([wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3)).sqrt()], dim=1)
        pairs[f"{key}/channel_mean_rms"] = (moments, golden[f"{key}/channel_mean_rms"])
    pairs["out/corner"] = (out[:, ::8, :6, :6], golden["out/corner"])
    pairs["out/corner_end"] = (out[:, ::8, -6:, -6:], golden["out/corner_end"])
    parity(f"TriPlaneEncoder {name}", pairs, NETWORK)


@torch.no_grad()
def test_arcface(rule, vectors, parity):
    golden = vectors("arcface_id")
    inputs, target = (rule.image(name, (2, 3, 256, 256)) for name in ("input3", "target3"))
    crop = identity_crop(inputs)
    shapes = rule.keys("ArcFace_IR_SE50")
    network = ArcFace.from_state(rule.fill(shapes))
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == shapes
    a, b = network(crop), network.identity(target)
    loss = 1 - (a * b).sum(1).mean()
    pairs = {
        "crop112/slice": (crop[:, :, ::7, ::7], golden["crop112/slice"]),
        "crop112/stats": (rule.stats(crop), golden["crop112/stats"]),
        "feat_input": (a, golden["feat_input"]),
        "feat_target": (b, golden["feat_target"]),
        "id_loss": (loss[None], golden["id_loss_input_vs_target"]),
    }
    parity("ArcFace IR-SE-50", pairs, NETWORK)


@torch.no_grad()
def test_curricularface(rule, vectors, parity):
    shapes = rule.keys("CurricularFace_IR101")
    network = ArcFace.from_state(rule.fill(shapes), IR_101, affine=False)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == shapes
    features = network.identity(rule.image("input3", (2, 3, 256, 256)))
    parity("CurricularFace IR-101", {"feat": (features, vectors("arcface_id")["ir101_feat_input"])}, NETWORK)
