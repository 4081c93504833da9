"""Reading a pack: what is missing, broken or not free is one clear line."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from dualenc_core import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.people import ENVIRONMENT, LABELS, Pack, People, render, sample_people
from dualenc_core.people.renderer import labels

TABLE = "files\tsource\tcommit or version\tlicence\tcopyright line\nall\tsomewhere\t1\t{}\tsomebody\n"


def make(folder, licence="MIT"):
    (folder / "licences").mkdir(parents=True)
    (folder / "licences" / "SOURCES.tsv").write_text(TABLE.format(licence))
    np.savez(folder / "some.npz", a=np.arange(3))
    Image.new("RGB", (8, 6), (10, 20, 30)).save(folder / "picture.webp")
    return folder


def test_a_pack_is_read_once_and_says_where_it_comes_from(tmp_path):
    pack = Pack.open(make(tmp_path / "pack"))
    assert pack.arrays("some.npz") is pack.arrays("some.npz")
    assert pack.image("picture.webp").shape == (3, 4, 3) and pack.image("picture.webp", 1).shape == (6, 8, 3)
    assert pack.provenance == [
        {
            "files": "all",
            "source": "somewhere",
            "commit or version": "1",
            "licence": "MIT",
            "copyright line": "somebody",
        }
    ]


def test_a_second_folder_fills_gaps(tmp_path):
    shared = make(tmp_path / "pack")
    (tmp_path / "kept").mkdir()
    np.savez(tmp_path / "kept" / "some.npz", a=np.arange(5))
    pack = Pack.open(tmp_path / "kept", shared)
    assert len(pack.arrays("some.npz")["a"]) == 5 and pack.image("picture.webp", 1).shape == (6, 8, 3)


def test_no_pack_is_said_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(DualEncError, match=f"--people FOLDER, or set {ENVIRONMENT}"):
        Pack.open()
    with pytest.raises(DualEncError, match="is not a folder"):
        Pack.open(tmp_path / "nowhere")
    monkeypatch.setenv(ENVIRONMENT, str(make(tmp_path / "pack")))
    assert Pack.open().root == tmp_path / "pack"


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "", "proprietary"])
def test_what_is_not_free_is_refused(tmp_path, licence):
    with pytest.raises(DualEncError, match="licence"):
        Pack.open(make(tmp_path / "pack", licence))


def test_a_pack_without_its_licences_is_refused(tmp_path):
    folder = make(tmp_path / "pack")
    (folder / "licences" / "SOURCES.tsv").unlink()
    with pytest.raises(DualEncError, match="SOURCES.tsv"):
        Pack.open(folder)


@pytest.mark.parametrize("name", ["some.npz", "picture.webp"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_missing_and_broken_files_are_named(tmp_path, name, damage):
    folder = make(tmp_path / "pack")
    whole = (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no such thing" * 9)
    pack = Pack.open(folder)
    with pytest.raises(DualEncError, match=name):
        pack.arrays(name) if name.endswith("npz") else pack.image(name)


@pytest.mark.skipif(not os.environ.get(ENVIRONMENT), reason=f"{ENVIRONMENT} names no pack of people")
@pytest.mark.parametrize("family", [0, 1, 2])
def test_real_people_look_like_people(family):
    pack = Pack.open()
    persons = [p for p in sample_people(60, seed=11) if p.family == family][:4]
    people = People(pack, tuple(persons))
    out = render(people, Camera.look_at(0.0), 64)
    again = render(People(pack, tuple(persons)), Camera.look_at(0.0), 64)
    assert torch.equal(out.image, again.image) and torch.equal(out.depth, again.depth)
    assert 0.2 < float(out.alpha.mean()) < 0.8
    found = [labels(people.scene(i), Camera.look_at(0.0), 96).unique().tolist() for i in range(len(people))]
    assert all(LABELS.index("skin") in one for one in found)
    assert {"eyes", "clothes"} <= {LABELS[k] for one in found for k in one}
