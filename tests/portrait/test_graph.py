"""The networks: agreement with the original runtime, TFLite semantics, broken and missing weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from dualenc_core.errors import CheckpointError
from dualenc_core.portrait.graph import Graph, same_padding
from dualenc_core.portrait.weights import load_face_model, load_graph, portrait_weights_dir


@pytest.fixture(scope="module")
def runtime(golden):
    return load_file(golden / "portrait" / "runtime.safetensors")


@pytest.mark.parametrize("name", ["face_detection_short_range", "face_landmark", "selfie_segmentation"])
def test_networks_agree_with_the_original_runtime(runtime, name):
    pixels = torch.from_numpy(runtime[f"{name}.input"]).float() / 255
    outputs = load_graph(name, "cpu")(pixels * 2 - 1 if name.startswith("face_detection") else pixels)
    for index, output in enumerate(outputs):
        output = output.permute(0, 2, 3, 1) if output.ndim == 4 else output
        output = output[:, ::2, ::2] if name == "selfie_segmentation" else output
        expected = runtime[f"{name}.output{index}"]
        assert output.shape == expected.shape
        np.testing.assert_allclose(output.numpy(), expected, atol=1e-3, rtol=0)


def test_batches_equal_single_pictures():
    graph = load_graph("face_detection_short_range", "cpu")
    images = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = graph(images)
    for i in range(3):
        for a, b in zip(together, graph(images[i : i + 1]), strict=True):
            assert torch.allclose(a[i : i + 1], b, atol=2e-3)


def run(op: dict, x: torch.Tensor, weights: dict | None = None) -> torch.Tensor:
    graph = {
        "inputs": [{"name": "x", "shape": [1, x.shape[2], x.shape[3], x.shape[1]]}],
        "outputs": [{"name": "y"}],
        "ops": [{"inputs": ["x"], "output": "y", "weights": list(weights or {}), **op}],
    }
    return Graph(graph, weights or {})(x)[0]


def test_same_padding_puts_the_odd_pixel_after():
    assert same_padding(128, 5, 2) == (1, 2)
    assert same_padding(7, 3, 2) == (1, 1)
    assert same_padding(8, 2, 2) == (0, 0)
    assert same_padding(5, 3, 1, dilation=2) == (2, 2)


def test_conv_samples_where_tensorflow_does():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 0, 0] = 1
    y = run({"kind": "conv", "stride": [2, 2], "padding": "same", "dilation": [1, 1]}, x, {"w": weight})
    # Even sizes with stride 2 pad only below and right, so the kernel's first tap lies on the even pixels.
    assert torch.equal(y[0, 0], x[0, 0, ::2, ::2])


def test_average_pool_leaves_padding_out_and_max_pool_ignores_it():
    x = -torch.ones(1, 2, 3, 3)
    for kind in ("average_pool", "max_pool"):
        assert torch.equal(
            run({"kind": kind, "stride": [2, 2], "kernel": [2, 2], "padding": "same"}, x), -torch.ones(1, 2, 2, 2)
        )


def test_transpose_conv_is_the_adjoint_of_the_convolution():
    rng = torch.Generator().manual_seed(1)
    for kernel, size in ((2, 4), (3, 4), (5, 6)):
        weight, x, y = (
            torch.rand(s, generator=rng)
            for s in ((3, 2, kernel, kernel), (1, 2, size, size), (1, 3, size // 2, size // 2))
        )
        options = {"stride": [2, 2], "padding": "same", "dilation": [1, 1]}
        forward = run({"kind": "conv", **options}, x, {"w": weight})
        backward = run({"kind": "transpose_conv", **options}, y, {"w": weight})
        assert torch.allclose((forward * y).sum(), (backward * x).sum(), rtol=1e-5)


def test_resize_modes():
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    modes = {(False, False): [0, 0.5, 1, 1], (True, False): [0, 1 / 3, 2 / 3, 1], (False, True): [0, 0.25, 0.75, 1]}
    for (corners, half), expected in modes.items():
        y = run({"kind": "resize_bilinear", "size": [1, 4], "align_corners": corners, "half_pixel": half}, x)
        assert torch.allclose(y.flatten(), torch.tensor(expected))


def test_channel_pad_and_reshape_follow_nhwc():
    x = torch.arange(8.0).view(1, 2, 2, 2)
    padded = run({"kind": "pad", "pad": [[0, 0], [1, 0], [0, 0], [0, 3]]}, x)
    assert padded.shape == (1, 5, 3, 2) and not padded[:, 2:].any() and not padded[:, :, 0].any()
    assert run({"kind": "reshape", "shape": [1, 4, 2]}, x)[0, 1].tolist() == [1.0, 5.0]


def test_wrong_input_shape_is_named():
    with pytest.raises(ValueError, match=r"\(1, 3, 64, 64\).*128"):
        load_graph("face_detection_short_range", "cpu")(torch.zeros(1, 3, 64, 64))


def test_missing_and_broken_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("DUALENC_WEIGHTS", str(tmp_path))
    assert portrait_weights_dir() == tmp_path / "portrait"
    with pytest.raises(CheckpointError, match="DUALENC_WEIGHTS"):
        load_graph("face_landmark", "cpu")
    with pytest.raises(CheckpointError, match="face_model"):
        load_face_model()
    (tmp_path / "portrait").mkdir()
    path = tmp_path / "portrait" / "face_landmark.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_graph("face_landmark", "cpu")
    graph = {
        "inputs": [{"name": "x", "shape": [1, 4, 4, 1]}],
        "outputs": [{"name": "x"}],
        "ops": [{"kind": "magic", "inputs": ["x"], "output": "y"}],
    }
    save_file({}, path, metadata={"portrait": json.dumps({"graph": graph})})
    with pytest.raises(CheckpointError, match="magic"):
        load_graph("face_landmark", "cpu")


def test_face_model_is_symmetric_and_regions_are_on_their_side():
    model = load_face_model()
    assert (model.mirror[model.mirror] == np.arange(468)).all()
    for name, sign in (("left_eye", 1), ("right_eye", -1), ("left_brow", 1), ("right_brow", -1)):
        assert (model.vertices[np.unique(model.regions[name]), 0] * sign > 0).all()
    assert (model.basis >= 0).all() and model.basis.sum() > 0
