"""Conversion: every tensor is carried over exactly, or named as not carried over."""

from __future__ import annotations

import argparse
import json
import os
import zipfile
from importlib import import_module

import numpy as np
import pytest
import torch

from dualenc_core.checkpoints import convert, load_encoder_file, load_generator_file, load_weights
from dualenc_core.checkpoints import encoder_layout as layout
from dualenc_core.errors import CheckpointError

_SMALL = ("input_layer.", "body.0.", "body.3.shortcut", "latlayer2.bias", "styles.13.linear.bias", "up4.", "final_head")


def _small(shapes):
    return {name: shape for name, shape in shapes.items() if name.startswith(_SMALL)}


@pytest.fixture
def small(monkeypatch):
    """The published layouts with a handful of their tensors: the full ones are a gigabyte."""
    one, two, face, curricular = layout.stage_one, layout.stage_two, layout.arcface, layout.curricularface
    monkeypatch.setattr(layout, "stage_one", lambda *a: _small(one(*a)))
    monkeypatch.setattr(layout, "stage_two", lambda *a: _small(two(*a)))
    return argparse.Namespace(one=one, two=two, face=face, curricular=curricular)


def _tensors(shapes, prefix=""):
    generator = torch.Generator().manual_seed(len(shapes))
    return {
        prefix + name: torch.zeros((), dtype=torch.int64)
        if name.endswith("tracked")
        else torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


def _triplanenet(one, two, **extra):
    state = _tensors(_small(one), "psp_encoder.") | _tensors(_small(two), "triplanenet_encoder.")
    state["decoder.backbone.w"] = torch.zeros(3)
    return {"state_dict": state, "step": 5, "best_val_loss": np.float64(0.5), **extra}


def test_layouts_equal_the_reference_listing(golden):
    listing = json.loads((golden / "encoders" / "state_dict_keys.json").read_text())
    expected = {
        "GradualStyleEncoder_n14": layout.stage_one(),
        "TriPlaneEncoder_v2_nearest_96": layout.stage_two(96),
        "TriPlaneEncoder_v2_nearest_288_derived": layout.stage_two(288),
        "TriPlaneEncoder_v2_pixelshuffle_96": layout.stage_two(96, True),
        "TriPlaneEncoder_v2_pixelshuffle_288_derived": layout.stage_two(288, True),
        "TriPlaneEncoder_v1_96": layout.stage_two(96, version=1),
        "ArcFace_IR_SE50": layout.arcface(),
        "CurricularFace_IR101": layout.curricularface(),
    }
    for name, shapes in expected.items():
        assert shapes == {key: tuple(shape) for key, shape in listing[name].items()}, name


@pytest.mark.parametrize(("planes", "shuffle", "version"), [(288, False, 2), (288, True, 2), (96, True, 1)])
def test_layouts_and_config_equal_our_encoder(tmp_path, monkeypatch, planes, shuffle, version):
    """The written config builds a network that has exactly the names and shapes that conversion fills."""
    from dualenc_core.encoders import HeadEncoder, HeadEncoderConfig

    one, two = layout.stage_one(), layout.stage_two(planes, shuffle, version)
    monkeypatch.setattr(layout, "stage_one", lambda *a: _small(one))
    monkeypatch.setattr(layout, "stage_two", lambda *a: _small(two))
    torch.save(_triplanenet(one, two, opts={"use_pixelshuffle": shuffle}), tmp_path / "t.pt")
    convert(tmp_path / "t.pt", tmp_path / "t.safetensors", planes=planes)
    config = load_encoder_file(tmp_path / "t.safetensors")[1]
    with torch.device("meta"):
        encoder = HeadEncoder(HeadEncoderConfig.from_dict(config))
    expected = {f"stage_one.{name}": shape for name, shape in one.items()}
    expected |= {f"stage_two.{name}": shape for name, shape in two.items()} | {"latent_avg": (512,)}
    assert {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()} == expected


def test_converted_generator_builds_and_maps(tmp_path, writer, tiny):
    """Official pickle → our file → the generator class, with the official names taken strictly."""
    from dualenc_core.generator import PanoHead

    source, target = tmp_path / "g.pkl", tmp_path / "g.safetensors"
    source.write_bytes(
        writer.dumps(writer.official(tiny.state, tiny.init_kwargs, tiny.rendering_kwargs, writer.Style()))
    )
    convert(source, target)
    state, config, _ = load_generator_file(target)
    converted = PanoHead.from_config(config["init_kwargs"], config["rendering_kwargs"], state)
    direct = PanoHead.from_config(tiny.init_kwargs, tiny.rendering_kwargs, tiny.state)
    assert converted.fingerprint == direct.fingerprint
    assert torch.equal(converted.backbone.mapping.w_avg, tiny.state["backbone.mapping.w_avg"])


def test_official_generator(tmp_path, writer, tiny):
    style = writer.Style()
    source, target = tmp_path / "g.pkl", tmp_path / "g.safetensors"
    source.write_bytes(writer.dumps(writer.official(tiny.state, tiny.init_kwargs, tiny.rendering_kwargs, style), style))
    steps = []
    report = convert(source, target, progress=lambda done, total: steps.append((done, total)))
    assert report.complete and report.kind == "generator" and set(report.matched) == set(tiny.state)
    assert steps[-1] == (len(tiny.state), len(tiny.state))
    state, config, provenance = load_generator_file(target)
    assert all(torch.equal(state[name], tiny.state[name]) for name in tiny.state)
    assert config["init_kwargs"] == tiny.init_kwargs and config["neural_rendering_resolution"] == 64
    assert config["rendering_kwargs"]["triplane_depth"] == 3 and len(provenance["sha256"]) == 64
    first = target.read_bytes()
    convert(source, target)
    assert target.read_bytes() == first
    assert convert(source, target, half=True).complete and len(target.read_bytes()) < 0.6 * len(first)


@pytest.mark.parametrize("shuffle", [False, True])
def test_triplanenet_into_288_planes(tmp_path, small, shuffle):
    content = _triplanenet(small.one(), small.two(96, shuffle), opts={"n_styles": 14, "use_pixelshuffle": shuffle})
    torch.save(content, tmp_path / "t.pt")
    report = convert(tmp_path / "t.pt", tmp_path / "t.safetensors")
    head = {f"stage_two.{name}" for name in small.two(288, shuffle) if name.startswith("final_head_two.")}
    assert {mismatch.name for mismatch in report.not_transferable} == head == set(report.missing)
    assert not report.complete and report.unexpected == ()
    text = str(report)
    first = 120 if shuffle else 160
    assert f"final_head_two.0.weight: shape [96, {first}, 3, 3], expected [288, {first + 192}, 3, 3]" in text
    assert "NOT complete" in text and "draws 96 plane channels" in text and "decoder.*" in text
    with pytest.raises(CheckpointError, match="not a complete encoder"):
        load_encoder_file(tmp_path / "t.safetensors")
    state, config, provenance = load_encoder_file(tmp_path / "t.safetensors", allow_incomplete=True)
    for name, tensor in content["state_dict"].items():
        ours = name.replace("psp_encoder.", "stage_one.").replace("triplanenet_encoder.", "stage_two.")
        if not name.startswith("decoder.") and ours not in head:
            assert torch.equal(state[ours], tensor), name
    assert config["triplane"]["upsampling"] == ("pixelshuffle" if shuffle else "nearest")
    assert set(provenance["missing"]) == head


def test_triplanenet_into_96_planes_is_complete(tmp_path, small):
    torch.save(_triplanenet(small.one(), small.two(96), opts=argparse.Namespace(n_styles=14)), tmp_path / "t.pt")
    report = convert(tmp_path / "t.pt", tmp_path / "t.safetensors", planes=96)
    assert report.complete and load_encoder_file(tmp_path / "t.safetensors")[1]["triplane"]["plane_channels"] == 96


def test_version_1_keeps_its_own_stem(tmp_path, small):
    torch.save(_triplanenet(small.one(), small.two(96, version=1)), tmp_path / "t.pt")
    report = convert(tmp_path / "t.pt", tmp_path / "t.safetensors")
    assert all(mismatch.name.startswith("stage_two.final_head.") for mismatch in report.not_transferable)
    state, config, _ = load_encoder_file(tmp_path / "t.safetensors", allow_incomplete=True)
    assert state["stage_two.input_layer.0.weight"].shape[1] == 6 and config["triplane"]["version"] == 1


def test_psp_with_average_and_more_styles(tmp_path, small):
    state = _tensors(_small(small.one(18)), "encoder.") | {"encoder.styles.17.linear.bias": torch.zeros(512)}
    average = torch.randn(512)
    torch.save({"state_dict": state, "opts": {"n_styles": 18}, "latent_avg": average.repeat(18, 1)}, tmp_path / "p.pt")
    report = convert(tmp_path / "p.pt", tmp_path / "p.safetensors")
    assert report.complete and "stage_one.styles.17.linear.bias" in report.unexpected
    found, config, _ = load_encoder_file(tmp_path / "p.safetensors")
    assert torch.equal(found["latent_avg"], average) and config["refiner"] is None
    assert "n_styles=18" in str(report)


def test_unequal_average_rows_are_left_out(tmp_path, small):
    state = _tensors(_small(small.one()), "encoder.")
    torch.save({"state_dict": state, "latent_avg": torch.randn(14, 512)}, tmp_path / "p.pt")
    report = convert(tmp_path / "p.pt", tmp_path / "p.safetensors")
    assert "latent_avg" not in report.matched and "latent_avg of shape [14, 512]" in str(report)


@pytest.mark.parametrize("kind", ["arcface", "curricularface"])
@pytest.mark.parametrize("zip_format", [False, True])
def test_face_recognition_backbones(tmp_path, monkeypatch, kind, zip_format):
    keep = ("input_layer.", "body.0.", "output_layer.4")
    shapes = {n: s for n, s in getattr(layout, kind)().items() if n.startswith(keep)} | {
        "output_layer.3.weight": (2, 3)
    }
    monkeypatch.setitem(import_module("dualenc_core.checkpoints.convert")._BACKBONES, kind, lambda: shapes)
    state = _tensors(shapes)
    state.pop("input_layer.1.num_batches_tracked")  # absent in old files
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zip_format)
    report = convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert report.kind == kind and report.complete
    found = load_weights(tmp_path / "a.safetensors", kind).state_dict
    assert found.keys() == shapes.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_alexnet_keeps_its_convolutions(tmp_path):
    state = _tensors(layout.lpips_alexnet()) | {"classifier.1.weight": torch.zeros(4, 4)}
    torch.save(state, tmp_path / "alexnet.pth")
    report = convert(tmp_path / "alexnet.pth", tmp_path / "a.safetensors", half=True)
    assert report.kind == "lpips-alexnet" and report.complete and report.unexpected == ("classifier.1.weight",)


class _Evil:
    def __reduce__(self):
        return os.system, ("touch MARK",)


@pytest.mark.parametrize("zip_format", [False, True])
def test_hostile_encoder_file(tmp_path, monkeypatch, zip_format):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "opts": _Evil()}, "evil.pt", _use_new_zipfile_serialization=zip_format)
    with pytest.raises(CheckpointError, match="weights-only rules; nothing was executed"):
        convert("evil.pt", "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pt"]


def test_broken_encoder_files(tmp_path):
    torch.save({"state_dict": {"encoder.a": torch.zeros(500)}}, tmp_path / "e.pt")
    data = (tmp_path / "e.pt").read_bytes()
    for tenth in range(1, 10):
        (tmp_path / "cut.pt").write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(CheckpointError, match="damaged"):
            convert(tmp_path / "cut.pt", tmp_path / "out.safetensors")
    with zipfile.ZipFile(tmp_path / "e.pt") as source, zipfile.ZipFile(tmp_path / "z.pt", "w", 8) as packed:
        for entry in source.namelist():
            packed.writestr(entry, source.read(entry))
    with pytest.raises(CheckpointError, match="compressed entries"):
        convert(tmp_path / "z.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list"),
        ({"a": torch.zeros(1)}, "holds a …"),
        ({"state_dict": {"decoder.a": torch.zeros(1)}}, "not a pSp or TriPlaneNet checkpoint"),
        ({"state_dict": {"encoder.a": 3}}, "'encoder.a' of the state dict is not a tensor"),
        ({"state_dict": {"encoder.unknown": torch.zeros(1)}}, "no tensor fits"),
    ],
)
def test_other_content(tmp_path, content, words):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=words):
        convert(tmp_path / "x.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_bad_paths(tmp_path):
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="must end in .safetensors"):
        convert(tmp_path / "x.pt", tmp_path / "out.pt")
    with pytest.raises(CheckpointError, match="no file at all"):
        convert(tmp_path / "absent.pkl", tmp_path / "out.safetensors")


def test_old_pytorch_is_refused(tmp_path, monkeypatch):
    torch.save({}, tmp_path / "x.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(CheckpointError, match="2.6 or later"):
        convert(tmp_path / "x.pt", tmp_path / "out.safetensors")
