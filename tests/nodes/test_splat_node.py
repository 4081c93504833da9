"""Splats as ComfyUI's own nodes take them, and as files."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Without ComfyUI the folders input, output and temp are in the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few(dc, monkeypatch):
    """Two splats in place of a baked head; what was asked of the baker."""
    asked = []
    values = torch.tensor([[0.1, 0.2, 0.3], [0.0, -0.1, 0.0]]), torch.full((2, 3), 0.01)
    turns = torch.nn.functional.normalize(torch.tensor([[1.0, 0.5, 0.0, 0.2], [1.0, 0.0, 0.0, 0.0]]), dim=-1)
    splats = dc.export.Splats(
        *values, turns, torch.tensor([0.9, 0.5]), torch.tensor([[0.2, 0.5, 0.8], [1.0, 0.0, 0.5]])
    )

    def bake(network, head, count, threshold, progress):
        progress(1, 1)
        asked.append((len(head), count, threshold))
        return splats

    monkeypatch.setattr(dc.export, "bake_splats", bake)
    return asked


def test_the_socket_holds_what_the_file_says(node, generator, head, few, folder, dc):
    answer = node.full("DualEncSplat", generator=generator, triplane=head, count=20_000, filename_prefix="mine/head")
    splat, name, _ = answer["result"]
    assert few == [(1, 20_000, None)]
    assert splat.positions.shape == splat.scales.shape == (1, 2, 3) and splat.rotations.shape == (1, 2, 4)
    assert splat.opacities.shape == (1, 2, 1) and splat.sh.shape == (1, 2, 1, 3) and splat.counts is None
    content = (folder / "output" / name).read_bytes()
    row = torch.frombuffer(bytearray(content.partition(b"end_header\n")[2]), dtype=torch.float32).view(2, -1)
    assert torch.allclose(row[:, :3], splat.positions[0]) and torch.allclose(row[:, 3:6], splat.sh[0, :, 0])
    assert torch.allclose(row[:, 10:], splat.rotations[0]) and torch.allclose(row[:, 7:10].exp(), splat.scales[0])
    # Metres, y down.
    expected = torch.tensor([0.1, -0.2, -0.3]) * dc.export.METRES_PER_UNIT
    assert torch.allclose(splat.positions[0, 0], expected)
    line = answer["ui"]["3d"][0]
    assert name == f"{line['subfolder']}/{line['filename']}" and "2 splats" in answer["ui"]["text"][0]


def test_an_spz_is_saved_beside_the_earlier_file(node, generator, head, few, folder):
    names = [node("DualEncSplat", generator=generator, triplane=head, save="spz")[1] for _ in range(2)]
    assert len(set(names)) == 2 and all((folder / "output" / name).stat().st_size > 40 for name in names)


def test_unsaved_splats_are_for_comfyuis_own_nodes_and_saved_where_there_are_none(
    pack, node, generator, head, few, folder, monkeypatch
):
    answer = node.full("DualEncSplat", generator=generator, triplane=head, save="no")
    assert answer["result"][1].endswith(".ply") and "no nodes that take a SPLAT" in answer["ui"]["dualenc_warnings"][0]
    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]
    types, before = SimpleNamespace(SPLAT=SimpleNamespace), set((folder / "output").rglob("*.*"))
    real = runtime.comfy
    monkeypatch.setattr(runtime, "comfy", lambda name: types if name == "comfy_api.latest._util" else real(name))
    splat, name, model = node("DualEncSplat", generator=generator, triplane=head, save="no")
    assert splat.positions.shape == (1, 2, 3) and name == "" and model is None
    assert set((folder / "output").rglob("*.*")) == before


def test_a_head_that_is_not_there_is_named(node, generator, head, few):
    with pytest.raises(ValueError, match="head is 3, but the batch holds 1"):
        node("DualEncSplat", generator=generator, triplane=head, head=3)
