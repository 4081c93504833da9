"""Directions of generators that say nothing of themselves."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dualenc_core.editing import (
    direct,
    directions_of,
    find_directions,
    load_directions,
    principal_directions,
    style_directions,
    values_of,
)
from dualenc_core.editing.direction_file import read_generator, with_directions
from dualenc_core.errors import CheckpointError, DualEncError, GeneratorMismatchError


@pytest.fixture(scope="module")
def found(tiny):
    return find_directions(tiny, principal=3, factors=2, samples=400)


@pytest.fixture
def file(found, tmp_path):
    return found.save(tmp_path / "tiny.directions.safetensors")


def test_they_are_main_axes_and_factors_one_deviation_long(tiny, found):
    assert [a.name for a in found.attributes] == [*(f"principal_{i}" for i in (1, 2, 3)), "factor_1", "factor_2"]
    assert torch.allclose(found.vectors[:3, 2], principal_directions(tiny, 3, 400))
    w = tiny.mapping(tiny.latents(0, 400))[:, 0]
    axis = style_directions(tiny, 2)[1]
    assert torch.allclose(found.vectors[4, 0] / axis, (w @ axis).std().expand(16), rtol=1e-3)


def test_values_read_what_was_moved(tiny, heads, file):
    known = load_directions(file, tiny)
    before = values_of(tiny, heads[0], known)
    for attribute in known.attributes:
        after = values_of(tiny, direct(tiny, heads[0], {attribute.name: 1.5}, known=known), known)
        for name in before:
            expected = 1.5 if name == attribute.name else 0.0
            assert torch.allclose(after[name] - before[name], torch.tensor(expected).double(), atol=1e-3)
    average = known.values(tiny.w_avg.expand(1, 6, 16))
    assert all(abs(float(value)) < 1e-5 for value in average.values())
    like = known.moved(heads[0].ws, {"principal_2": 1.0}, known.traits(heads[1].ws))
    theirs, found = known.values(heads[1].ws), known.values(like)
    for name in theirs:
        assert torch.allclose(found[name], theirs[name] + (name == "principal_2"), atol=1e-3)
    assert known.neutral(heads[0].ws) == {}


def test_directions_of_others_move_their_rows_only(tiny, heads, found, tmp_path):
    smile = torch.zeros(6, 16)
    smile[4:] = torch.randn(2, 16, generator=torch.Generator().manual_seed(2))
    known = with_directions(found, tiny, {"smile": smile}).renamed({"principal_1": "age"})
    known = load_directions(known.save(tmp_path / "d.safetensors"), tiny)
    moved = known.moved(heads[0].ws, {"smile": 2.0})
    assert torch.allclose(moved - heads[0].ws, 2 * smile.expand(2, 6, 16), atol=1e-6)
    assert known.attribute("age").unit == "standard deviations"
    alone = with_directions(None, tiny, {"smile": smile})
    assert [a.name for a in alone.attributes] == ["smile"]
    for more in ({"age": smile}, {"a b": smile}):
        with pytest.raises(DualEncError, match="is no name or used twice"):
            with_directions(known, tiny, more)
    with pytest.raises(DualEncError, match="no attribute 'principal_9'; did you mean principal_"):
        known.renamed({"principal_9": "x"})


def test_files_say_whose_they_are(tiny, file, found):
    assert read_generator(file) == tiny.fingerprint
    again = directions_of(tiny, file)
    assert torch.equal(again.vectors, found.vectors) and again.attributes == found.attributes


def test_unusable_files_are_named(tiny, file, tmp_path):
    made = itertools.count()

    def changed(**changes):
        tensors = load_file(file)
        with safe_open(file, "pt") as opened:
            header = json.loads(opened.metadata()["dualenc"])
        for name, change in changes.items():
            if name in tensors:
                tensors[name] = change
            else:
                header[name] = change
        path = tmp_path / f"{next(made)}.safetensors"
        save_file(tensors, path, {"dualenc": json.dumps(header)})
        return path

    with pytest.raises(GeneratorMismatchError, match="belong to generator 0123"):
        load_directions(changed(generator="0123"), tiny)
    row = {"name": "a", "group": "other", "unit": "u", "low": -1, "high": 1, "about": "b"}
    for path, message in (
        (changed(format="dualenc-directions/9"), "its format is"),
        (changed(vectors=torch.zeros(5, 6, 15)), "vectors are"),
        (changed(vectors=torch.full((5, 6, 16), float("nan"))), "NaN"),
        (changed(attributes=[row] * 5), "used twice"),
        (changed(attributes=[{"name": "a"}]), "group"),
        (changed(attributes=[row | {"low": 2}]), "range of a is 2"),
        (tmp_path / "absent.safetensors", "does not exist"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_directions(path, tiny)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="is not a file of directions"):
        read_generator(tmp_path / "broken.safetensors")


def test_impossible_counts_are_refused(tiny):
    for counts in ((0, 0), (16, 1), (-1, 3)):
        with pytest.raises(DualEncError, match="expected 1 to 16 in all"):
            find_directions(tiny, *counts, samples=100)
