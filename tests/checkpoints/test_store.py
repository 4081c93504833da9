"""Our weights files: round trips, the same bytes for the same weights, and refusal of everything else."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dualenc_core.checkpoints import (
    WeightsFile,
    load_encoder_file,
    load_generator_file,
    load_weights,
    read_entry,
    save_encoder,
    save_generator,
    save_weights,
)
from dualenc_core.errors import CheckpointError

CONFIG = {"init_kwargs": {"z_dim": 8}, "rendering_kwargs": {"box_warp": 1}, "neural_rendering_resolution": 64}
PROVENANCE = {"file": "x.pkl", "notes": ["é"]}


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 5, generator=generator)
    return {
        "a.weight": weight,
        "a.view": weight.t(),
        "a.row": weight[1],
        "steps": torch.tensor(3),
        "s": torch.tensor(0.5),
    }


def test_generator_round_trip(tmp_path, state):
    path = tmp_path / "g.safetensors"
    save_generator(path, state, CONFIG, PROVENANCE)
    found, config, provenance = load_generator_file(path)
    assert config == CONFIG and provenance == PROVENANCE and found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype for name in state)


def test_half_precision_rounds_once_and_keeps_integers(tmp_path, state):
    save_generator(tmp_path / "g.safetensors", state, CONFIG, PROVENANCE, half=True)
    with safe_open(tmp_path / "g.safetensors", framework="pt") as file:
        assert file.get_tensor("a.weight").dtype == torch.float16 and file.get_tensor("steps").dtype == torch.int64
    found = load_generator_file(tmp_path / "g.safetensors")[0]
    assert torch.equal(found["a.weight"], state["a.weight"].half().float()) and found["steps"] == 3


def test_same_weights_same_bytes(tmp_path, state):
    for name in ("one", "two"):
        save_generator(tmp_path / name, state, dict(reversed(CONFIG.items())) if name == "two" else CONFIG, PROVENANCE)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safe_open(tmp_path / "one", framework="pt") as file:  # several entries would come in an arbitrary order
        assert len(file.metadata()) == 1


def test_input_is_not_changed_and_results_do_not_share_memory(tmp_path, state):
    before = {name: tensor.clone() for name, tensor in state.items()}
    save_generator(tmp_path / "g.safetensors", state, CONFIG, PROVENANCE, half=True)
    found = load_generator_file(tmp_path / "g.safetensors")[0]
    found["a.weight"].zero_()
    assert found["a.row"].abs().sum() > 0
    assert all(torch.equal(before[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("changes", "config", "half", "words"),
    [
        ({"bad": torch.tensor([1.0, float("nan")])}, CONFIG, False, "bad contains NaN"),
        ({"bad": torch.tensor(float("inf"))}, CONFIG, False, "bad contains NaN or infinity"),
        ({"big": torch.tensor(1e6)}, CONFIG, True, "big has values beyond float16"),
        ({"c": torch.tensor(1j)}, CONFIG, False, "real numbers"),
        ({}, {"init_kwargs": {}}, False, "lacks rendering_kwargs"),
        ({}, CONFIG | {"init_kwargs": {"z": object()}}, False, "not plain JSON"),
        ({}, CONFIG | {"init_kwargs": {"z": float("nan")}}, False, "not plain JSON"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, state, changes, config, half, words):
    path = tmp_path / "g.safetensors"
    path.write_bytes(b"earlier file")
    with pytest.raises(CheckpointError, match=words):
        save_generator(path, state | changes, config, PROVENANCE, half)
    assert path.read_bytes() == b"earlier file" and len(list(tmp_path.iterdir())) == 1


def test_no_tensors_and_unknown_kind(tmp_path):
    with pytest.raises(CheckpointError, match="no tensors"):
        save_generator(tmp_path / "g.safetensors", {}, CONFIG, PROVENANCE)
    with pytest.raises(CheckpointError, match="'banana'"):
        save_weights(tmp_path / "g.safetensors", WeightsFile("banana", {"a": torch.zeros(1)}, {}, {}))


def test_wrong_kind(tmp_path, state):
    save_encoder(tmp_path / "e.safetensors", state, {}, PROVENANCE)
    with pytest.raises(CheckpointError, match="kind 'encoder'; 'generator' is expected"):
        load_generator_file(tmp_path / "e.safetensors")
    assert read_entry(tmp_path / "e.safetensors")["kind"] == "encoder"


def test_incomplete_encoder_is_refused_unless_asked_for(tmp_path, state):
    path = tmp_path / "e.safetensors"
    save_weights(path, WeightsFile("encoder", state, {}, {"missing": ["stage_two.x"]}, complete=False))
    with pytest.raises(CheckpointError, match="1 tensors are missing .stage_two.x"):
        load_encoder_file(path)
    assert load_encoder_file(path, allow_incomplete=True)[0].keys() == state.keys()
    assert not load_weights(path, "encoder").complete


def test_truncated_file(tmp_path, state):
    path = tmp_path / "g.safetensors"
    save_generator(path, state, CONFIG, PROVENANCE)
    data = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(CheckpointError):
            load_generator_file(path)


def test_nan_in_a_file(tmp_path, state):
    entry = {"format": "dualenc/1", "kind": "generator", "config": CONFIG, "provenance": {}, "complete": True}
    save_file({"w": torch.tensor([float("nan")])}, tmp_path / "g.safetensors", {"dualenc": json.dumps(entry)})
    with pytest.raises(CheckpointError, match="w contains NaN"):
        load_generator_file(tmp_path / "g.safetensors")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "without the 'dualenc' metadata"),
        ({"format": "pt"}, "without the 'dualenc' metadata"),
        ({"dualenc": "{"}, "not JSON"),
        ({"dualenc": "[" * 100_000}, "not JSON"),
        ({"dualenc": "[]"}, "format None"),
        ({"dualenc": '{"format":"dualenc/2"}'}, "format 'dualenc/2'; 'dualenc/1' is read"),
        ({"dualenc": '{"format":"dualenc/1","kind":"generator"}'}, "no valid 'config'"),
    ],
)
def test_foreign_metadata(tmp_path, metadata, words):
    save_file({"w": torch.zeros(1)}, tmp_path / "g.safetensors", metadata)
    with pytest.raises(CheckpointError, match=words):
        load_generator_file(tmp_path / "g.safetensors")


def test_other_files(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"convert \S*a\.pt \S*a\.safetensors"):
        load_generator_file(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_generator_file(tmp_path / "absent.safetensors")
    (tmp_path / "page.safetensors").write_text("<html>quota</html>")
    with pytest.raises(CheckpointError, match="HTML page"):
        load_generator_file(tmp_path / "page.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(bytes(100))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_generator_file(tmp_path / "noise.safetensors")
