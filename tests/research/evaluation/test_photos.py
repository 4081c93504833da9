"""The protocols on photos, with a generator of a few kilobytes and a handful of procedural portraits as the photos."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.cli import main
from dualenc_core.errors import DualEncError
from dualenc_core.export import save_alpha, save_png
from dualenc_core.generator import PanoHead
from dualenc_core.inversion import Fitted, LatentSettings, Objective, PivotalSettings, on_backdrop
from dualenc_core.inversion.perceptual import pyramid
from dualenc_core.metrics import pictures as metrics
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.research.data import ImageFolder, write_labels
from dualenc_core.research.evaluation import (
    Baselines,
    PhotoSettings,
    ProceduralSettings,
    evaluate_photos,
    evaluate_procedural,
    methods,
    write_photo_report,
)
from dualenc_core.research.evaluation import photos as module
from dualenc_core.research.evaluation.published import SAME_VIEW
from tests.small import small_generator

YAWS = {"left_60": -60, "left_30": -30, "front": 0, "right_30": 30, "right_60": 60}
LATENT = LatentSettings(steps=2, statistics=50, objective=Objective(distance=pyramid()))
QUICK = Baselines(LATENT, PivotalSettings(LATENT, steps=2))


class Fixed:
    """An encoder that always answers with the head of one seed."""

    def __init__(self, seed: int):
        self.seed = seed

    def encode(self, generator, image, camera, matte=None):
        return generator.synthesize(generator.mapping(generator.latents(self.seed)))


@pytest.fixture(scope="module")
def generator() -> PanoHead:
    torch.manual_seed(0)
    config = small_generator(z_dim=procedural.LATENT_DIM, render=RenderOptions(samples=8, importance=8))
    network = PanoHead(config)
    network.decoder.net[-1].bias.data[0] += 8.0
    return network.eval().requires_grad_(False)


def write(root, pictures) -> None:
    cameras = {}
    for name, (image, alpha, camera) in pictures.items():
        save_png(image, root / "images" / name)
        save_alpha(alpha, root / "masks" / name)
        cameras[name] = camera
    write_labels(root / "images" / "dataset.json", cameras)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three portraits of three heads."""
    root = tmp_path_factory.mktemp("photos")
    pictures = {}
    for i, yaw in enumerate((-20.0, 0.0, 35.0)):
        camera = Camera.look_at(yaw, 3)
        view = procedural.render(procedural.sample_heads(1, 1_000_000 + i), camera, 64, antialias=1)
        pictures[f"p{i}.png"] = (view.image[0], view.alpha[0], camera)
    write(root, pictures)
    return root


@pytest.fixture(scope="module")
def mead(tmp_path_factory):
    """Two moments of one head from five cameras."""
    root = tmp_path_factory.mktemp("mead")
    pictures = {}
    for frame in (1, 2):
        cameras = Camera.look_at(list(YAWS.values()), 2.0 * frame)
        views = procedural.render(procedural.sample_heads(1, 1_000_005), cameras, 64, antialias=1)
        for i, view in enumerate(YAWS):
            pictures[f"{view}/{frame:03}.png"] = (views.image[i], views.alpha[i], cameras[i])
    write(root, pictures)
    return root


@pytest.fixture
def inception(monkeypatch):
    """Features of a kind in place of Inception's, so that FID runs without its weights."""
    pytest.importorskip("scipy")

    def features(image):
        return torch.nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)

    monkeypatch.setattr(module, "find_inception", lambda *_: features)
    monkeypatch.setattr(module, "frechet_distance", lambda a, b: float((a.gaussian()[0] - b.gaussian()[0]).norm()))


def run(generator, folder, names=("e1", "points"), **options):
    chosen = methods(generator, Fixed(1), Fixed(2), names, QUICK)
    return evaluate_photos(generator, chosen, ImageFolder.open(folder, 64), PhotoSettings(**options), {"command": "x"})


# --------------------------------------------------------------------------------------------------------------- photos


def test_same_view_figures_are_those_of_the_metrics(generator, data, tmp_path):
    report = run(generator, data, novel=0)
    assert report.methods == ["e1", "points"] and len(report.rows) == 6
    folder = ImageFolder.open(data, 64)
    example = folder.read(1)
    photo = on_backdrop(generator, example.image, example.matte)
    photo = torch.nn.functional.interpolate(photo, (32, 32), mode="area")
    view = generator.render(Fixed(1).encode(generator, None, None), example.camera, quality="exact").image
    row = next(r for r in report.rows if r["photo"] == "p1.png" and r["method"] == "e1")
    assert row["l2"] == pytest.approx(float(metrics.mse(view, photo)), rel=1e-4)
    assert row["psnr"] == pytest.approx(float(metrics.psnr(view, photo)), rel=1e-4)
    assert row["ssim"] == pytest.approx(float(metrics.ssim(view, photo)), rel=1e-3)
    assert report.mean("l2", "e1", "same") == pytest.approx(
        sum(r["l2"] for r in report.rows if r["method"] == "e1") / 3
    )
    assert report.seconds["e1"] > 0 and report.memory["process"] > 0


def test_what_could_not_be_measured_is_said_and_not_replaced(generator, data, tmp_path, monkeypatch):
    monkeypatch.setenv("DUALENC_WEIGHTS", str(tmp_path))
    report = run(generator, data, novel=8)
    assert set(report.absent) == {"lpips", "id", "id_curricular", "fid"} and report.fid == {}
    assert not {"lpips", "id", "fid"} & report.rows[0].keys()
    paths = write_photo_report(report, tmp_path / "out")
    text = paths["md"].read_text(encoding="utf-8")
    assert "## Not measured" in text and "model_ir_se50.pth" in text
    assert "| dual encoder | 0.017 / 0.10 / 0.87 / 65.44 |" in text and "dual encoder (points): " in text
    assert "– / –" in text
    values = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert values["means"]["same"]["e1"]["l2"] == pytest.approx(report.mean("l2", "e1", "same"))


def test_the_published_table_is_whole():
    assert len(SAME_VIEW) == 7 and SAME_VIEW["PTI"] == ((0.019, 0.11, 0.89, 59.40), (0.033, 0.13, 0.86, 57.85), 86.52)


def test_novel_views_go_round_and_are_compared_with_samples(generator, data, inception, monkeypatch):
    seen = []
    render = PanoHead.render
    monkeypatch.setattr(
        PanoHead, "render", lambda self, t, c, *a, **k: seen.append(float(c.angles[0])) or render(self, t, c, *a, **k)
    )
    report = run(generator, data, ("e1",), novel=8)
    assert set(report.fid) == {"novel"} and report.fid["novel"]["e1"] > 0 and "fid" not in report.absent
    turns = [22.5, 67.5, 112.5, 157.5, -157.5, -112.5, -67.5, -22.5]
    novel = [yaw for yaw in seen if any(abs(yaw - turn) < 0.01 for turn in turns)]
    # Each direction once for the inverted heads, once for the samples.
    assert sorted(round(yaw, 1) for yaw in novel) == sorted(2 * turns)


def test_a_generator_against_itself_has_no_distance(generator, data, inception, monkeypatch):
    """Methods that answer with the very samples give zero."""
    samples = iter(range(100))

    def invert(image, camera, matte):
        return Fitted(generator.synthesize(generator.mapping(generator.latents(next(samples)))), generator, camera)

    report = evaluate_photos(
        generator, {"e1": invert}, ImageFolder.open(data, 64), PhotoSettings(novel=3), weights_dir="nowhere"
    )
    assert report.fid["novel"]["e1"] == pytest.approx(0, abs=1e-5)


def test_broken_photos_are_left_out_and_listed(generator, data, tmp_path):
    root = shutil.copytree(data, tmp_path / "data")
    (root / "images" / "p1.png").write_bytes(b"no picture")
    report = run(generator, root, novel=0)
    assert {r["photo"] for r in report.rows} == {"p0.png", "p2.png"} and "cannot be read" in report.skipped["p1.png"]
    for name in ("p0.png", "p2.png"):
        (root / "images" / name).write_bytes(b"")
    with pytest.raises(DualEncError, match="no photo of"):
        run(generator, root, novel=0)


def test_optimisations_are_methods_too_and_need_no_encoder(generator, data):
    chosen = methods(generator, None, None, ("wplus", "pti"), QUICK)
    settings = PhotoSettings(limit=1, novel=0)
    report = evaluate_photos(generator, chosen, ImageFolder.open(data, 64), settings)
    again = evaluate_photos(generator, chosen, ImageFolder.open(data, 64), settings)
    assert report.methods == ["wplus", "pti"] and json.dumps(report.rows) == json.dumps(again.rows)
    with pytest.raises(DualEncError, match="e1, points need encoder"):
        methods(generator, None, None, ("e1", "points", "pti"))
    with pytest.raises(DualEncError, match="psp"):
        methods(generator, None, None, ("psp",))


# ----------------------------------------------------------------------------------------------------------------- MEAD


def test_mead_compares_every_camera_with_its_own_frame(generator, mead, inception, tmp_path):
    chosen = methods(generator, Fixed(1), Fixed(2), ("e1", "cells"))
    report = evaluate_photos(generator, chosen, ImageFolder.open(mead, 64), protocol="mead")
    assert {r["view"] for r in report.rows} == {"-60", "-30", "0", "30", "60"} and len(report.rows) == 2 * 5 * 2
    folder = ImageFolder.open(mead, 64)
    target = folder.read(folder.names.index("right_60/002.png"))
    truth = torch.nn.functional.interpolate(on_backdrop(generator, target.image, target.matte), (32, 32), mode="area")
    view = generator.render(Fixed(1).encode(generator, None, None), target.camera, quality="exact").image
    row = next(r for r in report.rows if (r["photo"], r["view"], r["method"]) == ("002.png", "60", "e1"))
    assert row["l2"] == pytest.approx(float(metrics.mse(view, truth)), rel=1e-4)
    assert set(report.fid) == {"-60", "-30", "30", "60"} and set(report.fid["30"]) == {"e1", "cells"}
    text = write_photo_report(report, tmp_path)["md"].read_text(encoding="utf-8")
    assert "| ±60° | dual encoder, published | 0.223 | 0.706 | 47.2 |" in text
    assert "| ±30° | dual encoder (cells), here |" in text


def test_incomplete_frames_are_listed(generator, mead, tmp_path):
    root = shutil.copytree(mead, tmp_path / "mead")
    (root / "images" / "left_60" / "001.png").unlink()
    report = evaluate_photos(
        generator, methods(generator, Fixed(1), None, ("e1",)), ImageFolder.open(root, 64), protocol="mead"
    )
    assert any(name == "left_60 of 001.png" for name in report.skipped)
    assert len(report.rows) == 4 + 5
    shutil.rmtree(root / "images" / "front")
    with pytest.raises(DualEncError, match="no frame with front"):
        evaluate_photos(
            generator, methods(generator, Fixed(1), None, ("e1",)), ImageFolder.open(root, 64), protocol="mead"
        )


# --------------------------------------------------------------------------------------------- procedural, command line


def test_optimisations_are_rows_of_the_procedural_curves(generator):
    settings = ProceduralSettings(heads=1, yaws=2, variants=("e1", "wplus", "pti"))
    report = evaluate_procedural(generator, Fixed(1), Fixed(2), None, settings, baselines=QUICK)
    assert report.variants == ["e1", "wplus", "pti"]
    assert set(report.by_yaw("psnr")["pti"]) == {0, 180} and not math.isnan(report.by_yaw("ssim")["wplus"][180])
    made = report.settings["baselines"]["pti"]
    assert (made["method"], made["steps"], made["perceptual"]) == ("PTI", 2, "laplacian-pyramid")
    assert report.timings["wplus"] > 0
    from dualenc_core.research.evaluation.report import markdown

    assert "likeness by laplacian-pyramid, not LPIPS" in markdown(report)


def test_the_verb_needs_a_folder(capsys, tmp_path):
    assert main(["evaluate", "--protocol=photos", f"--out={tmp_path / 'out'}"]) == 1
    assert "needs --data" in capsys.readouterr().err
    assert main(["evaluate", "--protocol=photos", f"--data={tmp_path}", f"--out={tmp_path / 'out'}"]) == 1
    assert "dataset.json" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_verb_on_photos(generator, data, tmp_path, capsys):
    from dualenc_core.checkpoints import save_generator

    init, rendering = generator.config.to_official()
    config = {"init_kwargs": init, "rendering_kwargs": rendering, "neural_rendering_resolution": 8}
    save_generator(tmp_path / "g.safetensors", generator.state_dict(), config, {})
    arguments = ["evaluate", "--protocol=photos", f"--data={data}", f"--out={tmp_path / 'out'}", "--device=cpu"]
    arguments += [f"--generator={tmp_path / 'g.safetensors'}", "--methods", "wplus", "--steps=2", "--limit=1"]
    assert main(arguments) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"report.md", "report.json"}
    assert "W+ optimisation" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ bad items


def test_a_photo_that_cannot_be_inverted_is_left_out_of_all_methods(generator, data) -> None:
    class Picky(Fixed):
        def encode(self, generator, image, camera, matte=None):
            if camera.angles[0] > 30:
                raise DualEncError("this head is turned too far")
            return super().encode(generator, image, camera, matte)

    folder = ImageFolder.open(data)
    report = evaluate_photos(generator, methods(generator, Fixed(1), Picky(2), ("e1", "e2"), QUICK), folder)
    assert {row["photo"] for row in report.rows} == {"p0.png", "p1.png"} and len(report.rows) == 4
    assert report.skipped == {"p2.png": "this head is turned too far"}


def test_a_photo_that_is_listed_twice_is_measured_and_not_called_left_out(generator, data, tmp_path) -> None:
    shutil.copytree(data, tmp_path / "data")
    listed = tmp_path / "data" / "images" / "dataset.json"
    rows = json.loads(listed.read_text(encoding="utf-8"))["labels"]
    listed.write_text(json.dumps({"labels": [*rows, rows[0]]}), encoding="utf-8")
    report = evaluate_photos(
        generator, methods(generator, Fixed(1), Fixed(2), ("e1",), QUICK), ImageFolder.open(tmp_path / "data")
    )
    assert len(report.rows) == 3 and not report.skipped
