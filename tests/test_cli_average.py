"""Means of weights from the command line, with networks of a few kilobytes that run."""

from __future__ import annotations

import pytest
import torch

import dualenc_core as dc
from dualenc_core.checkpoints import load_weights, save_weights
from dualenc_core.cli import main
from tests.small import write_networks


@pytest.fixture
def trained(tmp_path):
    """Networks before and after a training."""
    files = []
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        files.append(write_networks(tmp_path / name))
    for path in files[1].values():
        weights = load_weights(path, "generator" if path.stem == "generator" else "encoder")
        for tensor in weights.state_dict.values():
            tensor.mul_(1.5) if tensor.is_floating_point() else tensor.add_(10)
        save_weights(path, weights)
    return files


def test_a_generator_and_an_encoder_for_it(trained, tmp_path, capsys):
    generator, encoder = tmp_path / "generator.safetensors", tmp_path / "encoder.safetensors"
    files = [str(networks["generator"]) for networks in trained]
    assert main(["average", *files, "--weights", ".5", "1.5", f"--out={generator}"]) == 0
    assert "generator.safetensors, weight 0.75, sha256 " in capsys.readouterr().out
    mean, one, other = (dc.load_generator(path) for path in (generator, *files))
    for mixed, first, second in zip(mean.parameters(), one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mixed, 0.25 * first + 0.75 * second, rtol=1e-5)

    files = [str(networks["encoder1"]) for networks in trained]
    assert main(["average", *files, f"--generator={generator}", f"--out={encoder}"]) == 0
    made = dc.load_encoder(encoder)
    assert made.config.generator == mean.fingerprint
    photo, camera = torch.zeros(1, 3, 32, 32), dc.Camera.look_at()
    assert torch.isfinite(made.encode(mean, photo, camera).planes).all()
    with pytest.raises(dc.DualEncError, match="load the matching pair"):
        made.encode(one, photo, camera)


def test_errors_are_one_line_and_write_nothing(trained, tmp_path, capsys):
    out = tmp_path / "mean.safetensors"
    generators = [str(networks["generator"]) for networks in trained]
    for arguments, words in (
        (generators[:1], "expected two or more"),
        ([generators[0], str(trained[1]["encoder1"])], "kind 'encoder'; 'generator' is expected"),
        ([*generators, "--weights", "1", "2", "3"], "expected 2 positive numbers"),
        ([*generators, f"--generator={generators[0]}"], "only encoders are for one"),
    ):
        assert main(["average", *arguments, f"--out={out}"]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert main(["average", *generators, "--weights", "1", "-1", f"--out={out}"]) == 2
    assert main(["average", *generators]) == 2
    assert not out.exists()
