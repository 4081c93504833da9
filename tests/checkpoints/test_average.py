"""The mean of weights files: of floats alone, in the first one's words, and refused where the files are no kin."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.checkpoints import WeightsFile, average, load_weights, save_weights
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.files import sha256

CONFIG = {"passes": 2, "lifted": {"depth": 3, "plane_scale": 1.5}, "generator": "00ff"}


def state(value: float) -> dict[str, torch.Tensor]:
    return {
        "weight": torch.full((2, 3), value),
        "half": torch.tensor([value, 1.0]).half(),
        "steps": torch.tensor(7),
        "bn.num_batches_tracked": torch.tensor(int(value)),
    }


@pytest.fixture
def write(tmp_path):
    """A writer of encoder files: name, tensors, changes of the configuration."""

    def written(name, tensors, kind="encoder", complete=True, **changes):
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, WeightsFile(kind, tensors, CONFIG | changes, {"data": name}, complete))
        return path

    return written


def test_floats_are_averaged_and_all_else_is_the_firsts(write, tmp_path):
    files = [write("a", state(1.0)), write("b", state(4.0) | {"half": torch.tensor([4.0, 1.0])})]
    out = tmp_path / "new" / "mean.safetensors"
    made = average(files, out)
    found = load_weights(out, "encoder", as_stored=True)
    assert found.config == CONFIG and found.complete
    assert found.state_dict["weight"].dtype == torch.float32 and found.state_dict["half"].dtype == torch.float16
    assert torch.equal(found.state_dict["weight"], torch.full((2, 3), 2.5))
    assert found.state_dict["half"].tolist() == [2.5, 1.0]
    assert found.state_dict["steps"] == 7 and found.state_dict["bn.num_batches_tracked"] == 1
    assert found.provenance == made.provenance == {
        "data": "a",
        "mean_of": [f"{path.name}, weight 0.5, sha256 {sha256(path)}" for path in files],
    }  # fmt: skip


def test_weights_count_by_their_shares(write, tmp_path):
    files = [write(name, state(value)) for name, value in (("a", 1.0), ("b", 2.0), ("c", 4.0))]
    average(files, tmp_path / "thirds.safetensors")
    average(files, tmp_path / "mean.safetensors", [2, 1, 1])
    thirds, mean = (load_weights(tmp_path / f"{name}.safetensors", "encoder") for name in ("thirds", "mean"))
    assert torch.allclose(thirds.state_dict["weight"], torch.tensor(7 / 3))
    assert torch.equal(mean.state_dict["weight"], torch.full((2, 3), 2.0))
    assert mean.provenance["mean_of"][0].startswith("a.safetensors, weight 0.5, ")


def test_rounding_happens_once(write, tmp_path):
    """One third of three equal numbers, thrice, is that number: sums are in float64."""
    value = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    files = [write(name, {"w": value}) for name in "abc"]
    assert torch.equal(average(files, tmp_path / "mean.safetensors").state_dict["w"], value)


def test_settings_may_differ_where_that_is_said(write, tmp_path):
    other = {"passes": 1, "lifted": {"depth": 3, "plane_scale": 2.5}, "generator": "aaaa", "tones": True}
    files = [write("a", state(1.0)), write("b", state(2.0), **other)]
    out = tmp_path / "mean.safetensors"
    keep = ["passes", "lifted.plane_scale", "tones"]
    with pytest.raises(CheckpointError, match="setting generator is aaaa in .*--generator names the one"):
        average(files, out, keep=keep)
    assert average(files, out, keep=[*keep, "generator"]).config == CONFIG
    assert average(files, out, keep=keep, generator="beef").config == CONFIG | {"generator": "beef"}
    assert load_weights(out, "encoder").config["generator"] == "beef"


def test_the_mean_of_incomplete_files_is_incomplete(write, tmp_path):
    files = [write("a", state(1.0)), write("b", state(2.0), complete=False)]
    assert not average(files, tmp_path / "mean.safetensors").complete


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({"weight": torch.ones(3, 2)}, {}, r"tensor weight is float32 \[3, 2\] in .*b.* and float32 \[2, 3\] in .*a"),
        ({"weight": torch.ones(2, 3).long()}, {}, r"tensor weight is int64 \[2, 3\]"),
        ({"steps": torch.tensor(8)}, {}, "tensor steps is .* other values"),
        ({"steps": torch.tensor(7, dtype=torch.int32)}, {}, r"tensor steps is int32 \[\]"),
        ({"another": torch.ones(1)}, {}, r"tensor another is float32 \[1\] in .*b.* and absent in .*a"),
        ({}, {"passes": 1}, "setting passes is 1 in .*b.* and 2 in .*a.*--keep passes"),
        ({}, {"lifted": {"depth": 3, "plane_scale": 2.0}}, "setting lifted.plane_scale is 2.0"),
        ({}, {"lifted": None}, "setting lifted is None"),
        ({}, {"tones": True}, "setting tones is True in .*b.* and absent in .*a"),
        ({}, {"kind": "arcface"}, "kind 'arcface'; 'encoder' is expected"),
    ],
)
def test_files_that_differ_are_refused(write, tmp_path, changes, settings, words):
    out = tmp_path / "mean.safetensors"
    out.write_bytes(b"earlier file")
    files = [write("a", state(1.0)), write("b", state(2.0) | changes, **settings)]
    with pytest.raises(CheckpointError, match=words):
        average(files, out)
    assert out.read_bytes() == b"earlier file" and len(list(tmp_path.iterdir())) == 3


def test_a_mean_that_the_first_ones_type_cannot_hold_is_refused(write, tmp_path):
    files = [write("a", {"w": torch.ones(1).half()}), write("b", {"w": torch.full((1,), 1e6)})]
    with pytest.raises(CheckpointError, match="mean.safetensors: tensor w contains NaN or infinity"):
        average(files, tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()


def test_wrong_calls(write, tmp_path):
    a, b = write("a", state(1.0)), write("b", state(2.0))
    out = tmp_path / "mean.safetensors"
    wrong = [
        ([a], out, {}, "1 weights file"),
        ([a, b, tmp_path / "." / "a.safetensors"], out, {}, "a.safetensors is given twice"),
        ([a, b], b, {}, "target .*b.safetensors is one of the files"),
        ([a, b], tmp_path / "mean.pt", {}, "must end in .safetensors"),
        ([a, b], out, {"shares": [1]}, r"weights are \[1.0\], expected 2 positive"),
        ([a, b], out, {"shares": [1, 0]}, "expected 2 positive"),
        ([a, b], out, {"shares": [1, float("nan")]}, "expected 2 positive"),
        ([a, tmp_path / "c.safetensors"], out, {}, "c.safetensors does not exist"),
        ([write("d", state(1.0), kind="arcface"), b], out, {"generator": "beef"}, "d.safetensors is of kind 'arcface'"),
    ]
    for files, target, options, words in wrong:
        with pytest.raises(DualEncError, match=words):
            average(files, target, **options)
    assert not out.exists()
