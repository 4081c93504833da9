"""The adapter from image folders to a training data set."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.research.training.batches import Batches, open_dataset
from dualenc_core.research.training.config import DataConfig
from dualenc_core.research.training.folders import FolderPortraits
from tests.research.training.paper_small import generator, paper_config


class Few:
    """Four images, the second of which is broken; the last counts twice."""

    def __init__(self, mattes: bool = True) -> None:
        self.names = ["a", "b", "c", "d"]
        self.copies = torch.tensor([1, 1, 1, 2])
        self.problems: dict[str, str] = {}
        self.mattes = mattes

    def read(self, index):
        if index == 1:
            self.problems["b"] = "is truncated"
            return None
        image = torch.full((1, 3, 8, 8), index / 4)
        matte = torch.full((1, 1, 8, 8), 0.5) if self.mattes else None
        return SimpleNamespace(image=image, matte=matte, camera=Camera.look_at(float(index)))


def test_rare_poses_are_repeated_and_broken_images_replaced_and_named_once(capsys):
    data = FolderPortraits(Few())
    assert len(data) == 5
    shown = [float(data[i]["image"][0, 0, 0]) * 4 for i in range(5)]
    assert shown == [0, 2, 2, 3, 3]
    assert data[1]["matte"].shape == (1, 8, 8) and data[1]["camera"].shape == (25,)
    assert capsys.readouterr().err == "left out b: is truncated\n"
    assert len(FolderPortraits(Few(), count=2)) == 2


def test_a_folder_without_a_usable_image_is_an_error():
    few = Few()
    few.names, few.copies = ["a", "b"], torch.tensor([1, 1])
    few.read = lambda index: few.problems.update({few.names[index]: "is truncated"})
    with pytest.raises(DualEncError, match="no image.*a: is truncated"):
        FolderPortraits(few)[0]


def test_missing_masks_are_refused_unless_ignored():
    with pytest.raises(DualEncError, match="a has no mask.*data.masks: ignore"):
        FolderPortraits(Few(mattes=False))[0]
    assert (FolderPortraits(Few(mattes=False), masks="ignore")[0]["matte"] == 1).all()


def test_a_folder_on_disk_is_trained_on(tmp_path):
    pytest.importorskip("dualenc_core.research.data", reason="image folders are not in this tree yet")
    from PIL import Image

    labels = []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        Image.new("RGB", (40, 40), (60 * i, 0, 0)).save(tmp_path / "images" / f"{i}.png")
        Image.new("L", (40, 40), 255).save(tmp_path / "masks" / f"{i}.png")
        labels.append([f"{i}.png", Camera.look_at(20.0 * i - 30, 3.0 * (i % 3)).label[0].tolist()])
    (tmp_path / "images" / "dataset.json").write_text(json.dumps({"labels": labels}))
    (tmp_path / "images" / "2.png").write_bytes(b"not a picture")
    data = DataConfig(kind="folder", path=str(tmp_path), size=32, rebalance=False)
    dataset = open_dataset(data)
    assert len(dataset) == 4
    batch = Batches(paper_config(data={"mirror": 0.0}), generator(), dataset, torch.zeros(3)).heads(0, 0, range(2))
    assert batch.image.shape == (2, 3, 32, 32) and float(batch.matte.min()) > 0.999
