from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError
from dualenc_core.export import save_alpha, save_png
from dualenc_core.research.data import ImageFolder, write_labels

YAWS = (-40.0, 0.0, 25.0, 60.0, 70.0)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """Five procedural portraits with masks, as ``prepare`` would write them."""
    root = tmp_path_factory.mktemp("data")
    heads = procedural.sample_heads(len(YAWS), 1_000_000)
    cameras = {}
    for i, yaw in enumerate(YAWS):
        camera = Camera.look_at(yaw, 2.0 * i)
        picture = procedural.render(heads[i], camera, 64, antialias=1)
        name = f"p{i}.png" if i else "sub/p0.png"
        save_png(picture.image[0], root / "images" / name)
        save_alpha(picture.alpha[0], root / "masks" / name)
        cameras[name] = camera
    write_labels(root / "images" / "dataset.json", cameras)
    return root


@pytest.fixture
def copy(portraits, tmp_path):
    return shutil.copytree(portraits, tmp_path / "data")


def first(folder: ImageFolder, count: int, size: int = 2, **options):
    return [example for _, example in itertools.islice(folder.batches(size, **options), count)]


def test_examples_have_image_matte_and_camera(portraits):
    folder = ImageFolder.open(portraits, 32)
    assert folder.names == ["p1.png", "p2.png", "p3.png", "p4.png", "sub/p0.png"] and len(folder) == 5
    example = folder.read(0)
    assert example.image.shape == (1, 3, 32, 32) and example.matte.shape == (1, 1, 32, 32)
    assert -1 <= example.image.min() < 0.9 <= example.image.max() <= 1
    assert example.matte.min() == 0 and example.matte.max() == 1
    assert float(example.camera.angles[0]) == pytest.approx(0, abs=1e-3)
    assert folder.problems == {}


def test_mirroring_turns_picture_mask_and_camera(portraits):
    folder = ImageFolder.open(portraits / "images", 32, mirror=True)
    assert len(folder) == 10
    plain, mirrored = folder.read(1), folder.read(-2)
    assert mirrored.names == ("p2.png (mirrored)",)
    assert torch.equal(mirrored.image, plain.image.flip(-1)) and torch.equal(mirrored.matte, plain.matte.flip(-1))
    assert float(mirrored.camera.angles[0]) == pytest.approx(-float(plain.camera.angles[0]), abs=1e-4)
    assert torch.allclose(plain.mirrored.mirrored.camera.label, plain.camera.label)


def test_an_epoch_has_every_image_once_and_the_seed_decides_the_order(portraits):
    folder = ImageFolder.open(portraits, 16, mirror=True)
    order = folder.order(3, 0)
    assert sorted(order) == [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4]
    assert order == folder.order(3, 0) and order != folder.order(3, 1) and order != folder.order(4, 0)


def test_rebalancing_repeats_rare_poses(portraits):
    folder = ImageFolder.open(portraits, 16, rebalance=True)
    assert int(folder.copies.max()) <= 6 and len(folder) == int(folder.copies.sum()) == len(folder.order(0, 0))


def test_batches_go_on_anywhere(portraits):
    folder = ImageFolder.open(portraits, 16, mirror=True)
    everything = first(folder, 7, seed=1)
    later = list(itertools.islice(folder.batches(2, seed=1, start=4), 3))
    assert [number for number, _ in later] == [4, 5, 6]
    assert [e.names for _, e in later] == [e.names for e in everything[4:7]]
    assert all(torch.equal(a.image, b.image) for (_, a), b in zip(later, everything[4:7], strict=True))


def test_shards_share_the_batches_without_overlap(portraits):
    folder = ImageFolder.open(portraits, 16, mirror=True)
    whole = first(folder, 6, seed=2)
    halves = [first(folder, 3, seed=2, shard=shard, shards=2) for shard in (0, 1)]
    assert [e.names for e in itertools.chain(*zip(*halves, strict=True))] == [e.names for e in whole]


def test_broken_images_are_listed_and_replaced_the_same_way_every_time(copy):
    images = copy / "images"
    (images / "p2.png").write_bytes(b"no picture")
    (copy / "masks" / "p3.png").unlink()
    data = (images / "p4.png").read_bytes()
    (images / "p4.png").write_bytes(data[: len(data) // 2])
    (images / "extra.png").write_bytes(data)
    runs = []
    for _ in range(2):
        folder = ImageFolder.open(copy, 16)
        runs.append([e.names for e in first(folder, 5)])
        assert set(folder.problems) == {"p2.png", "p3.png", "p4.png", "extra.png"}
    assert runs[0] == runs[1]
    assert {name for names in runs[0] for name in names} == {"p1.png", "sub/p0.png"}
    assert "cannot be read" in folder.problems["p2.png"] and "mask" in folder.problems["p3.png"]
    assert "no label" in folder.problems["extra.png"]


def test_missing_and_oblong_images_are_listed(copy):
    (copy / "images" / "p1.png").unlink()
    save_png(torch.zeros(3, 8, 16), copy / "images" / "p2.png")
    folder = ImageFolder.open(copy, 16)
    assert "not in the folder" in folder.problems["p1.png"]
    assert folder.read(folder.names.index("p2.png")) is None and "square" in folder.problems["p2.png"]


def test_nothing_usable_is_an_error(copy, tmp_path):
    with pytest.raises(DualEncError, match="dataset.json"):
        ImageFolder.open(tmp_path / "empty", 16)
    with pytest.raises(DualEncError, match="masks"):
        ImageFolder.open(copy, 16, masks=tmp_path / "none")
    for path in (copy / "images").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DualEncError, match="no image of"):
        first(ImageFolder.open(copy, 16), 1)
    for path in list((copy / "images").rglob("*.png")):
        path.unlink()
    with pytest.raises(DualEncError, match="belong together"):
        ImageFolder.open(copy, 16)


@pytest.mark.parametrize("usable", [[], ["elsewhere.png"]], ids=["no usable label", "labels of missing images only"])
def test_where_all_labels_are_wrong_the_first_is_named(copy, usable):
    good = Camera.look_at(0.0).label[0].tolist()
    wrong = [["p3.png", good[:16]], ["p1.png", [float("nan")] * 25], ["p2.png", None]]
    labels = [[name, good] for name in usable] + wrong
    (copy / "images" / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(DualEncError, match="5 images .*for example p3.png has 16 numbers, expected 25"):
        ImageFolder.open(copy, 16)


def stored_as(mask: np.ndarray, form: str) -> Image.Image:
    cut_out = Image.new("RGBA", mask.shape[::-1], "pink")
    cut_out.putalpha(Image.fromarray(mask))
    palette = Image.fromarray((mask > 127).astype(np.uint8), "L").convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    return {
        "0/1": Image.fromarray((mask > 127).astype(np.uint8)),
        "16 bits": Image.fromarray(mask.astype(np.uint16) * 257),
        "1 bit": Image.fromarray(mask).convert("1"),
        "RGB": Image.fromarray(mask).convert("RGB"),
        "cut-out": cut_out,
        "labels": palette,
        "half the size": Image.fromarray(mask).resize((32, 32)),
    }[form]


def test_masks_mean_the_same_however_they_are_stored(copy):
    expected = ImageFolder.open(copy, 32).read(0).matte
    path = copy / "masks" / "p1.png"
    mask = np.array(Image.open(path).convert("L"))
    for form in ("0/1", "16 bits", "1 bit", "RGB", "cut-out", "labels", "half the size"):
        stored_as(mask, form).save(path)
        folder = ImageFolder.open(copy, 32)
        example = folder.read(0)
        assert example is not None, (form, folder.problems)
        assert (example.matte - expected).abs().mean() < 0.02, form


def test_masks_that_leave_nothing_of_the_head_are_listed(copy):
    mask = np.array(Image.open(copy / "masks" / "p2.png").convert("L"))
    Image.fromarray(mask * 0).save(copy / "masks" / "p1.png")
    Image.fromarray(255 - mask).save(copy / "masks" / "p2.png")
    (copy / "masks" / "p3.png").write_bytes(b"no picture")
    folder = ImageFolder.open(copy, 16)
    assert [folder.read(i) is None for i in range(5)] == [True, True, True, False, False]
    assert "empty" in folder.problems["p1.png"] and "inverted" in folder.problems["p2.png"]
    assert "mask" in folder.problems["p3.png"] and "cannot be read" in folder.problems["p3.png"]
