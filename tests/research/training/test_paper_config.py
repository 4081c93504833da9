"""Configurations: files, presets, overrides, and what is refused."""

from __future__ import annotations

import json

import pytest

from dualenc_core import load_generator
from dualenc_core.encoders.config import HeadEncoderConfig
from dualenc_core.errors import DualEncError, MissingDependencyError
from dualenc_core.research.training import config_file
from dualenc_core.research.training.config import TrainConfig
from dualenc_core.research.training.encoder_presets import NAMES, preset
from dualenc_core.research.training.encoder_run import check_same_run, overridden
from tests.stylised import stylised_generator

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")


@pytest.mark.parametrize("name", NAMES)
def test_presets_survive_yaml_json_and_dictionaries(name, tmp_path):
    config = preset(name).replace(variant="encoder2", start="e1", discriminator={"kind": "image"})
    (tmp_path / "c.yaml").write_text(config_file.dump(config), encoding="utf-8")
    assert config_file.read_config(tmp_path / "c.yaml") == config
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))
    assert config_file.read_config(tmp_path / "c.json") == config
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_smoke_fits_the_bundled_generator_and_demo_one_of_procedural_heads():
    for name, generator in (("smoke", load_generator("demo")), ("demo", stylised_generator())):
        config, encoder = generator.config, preset(name).encoder
        assert (encoder.style.w_dim, encoder.style.z_dim, encoder.style.n_styles) == (
            config.w_dim,
            config.z_dim,
            config.num_ws,
        )
        planes = (encoder.lifted.features, encoder.lifted.depth, encoder.lifted.plane_size)
        assert planes == (config.features, config.plane_depth, config.plane_size)


def test_the_paper_preset_is_the_paper():
    c = preset("paper").replace(variant="encoder2", start="e1")
    assert (c.losses.lpips, c.losses.l2, c.losses.identity) == (0.8, 1.0, 0.5)
    assert (c.schedule.batch, c.schedule.steps, c.schedule.optimizer) == (3, 500_000, "ranger")
    assert c.schedule.learning_rate == c.discriminator.learning_rate == 1e-4
    assert (c.discriminator.kind, c.discriminator.weight, c.discriminator.stride) == ("occluded", 0.001, 1)
    assert (c.discriminator.r1, c.discriminator.r1_every) == (10.0, 16)
    assert c.encoder == HeadEncoderConfig() and c.encoder.triplane.plane_channels == 288
    assert preset("paper").stage_two_from == 20_000 and c.stage_two_from == 0
    assert c.adversarial and not preset("paper").adversarial


def test_a_file_may_change_a_preset_and_leave_the_rest(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "preset: smoke\nlosses: {l2: 1e-1}   # without a point: text in YAML 1.1\n"
        "encoder: {style: {projection: z+}}\nrender: {samples: [6, 4]}\n"
    )
    config = config_file.read_config(path)
    base = preset("smoke")
    assert config.losses.l2 == 0.1 and config.losses.l1 == base.losses.l1
    assert config.encoder.style.projection == "z+" and config.encoder.style.trunk == base.encoder.style.trunk
    assert config.render.samples == (6, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch: 3", "unknown key 'batch'.*variant"),
        ("schedule: {bach: 3}", "unknown key 'schedule.bach'.*batch"),
        ("encoder: {style: {trunk: {width: 3}}}", "encoder.style.trunk.width"),
        ("schedule: {batch: many}", "schedule.batch is 'many', expected a whole number"),
        ("schedule: {batch: 2.5}", "schedule.batch is 2.5"),
        ("schedule: {batch: true}", "schedule.batch is True"),
        ("schedule: {batch: 3, accumulate: 2}", "divisor of schedule.batch"),
        ("schedule: {ema: 2}", "schedule.ema is 2"),
        ("schedule: 5", "schedule is 5, expected a section"),
        ("compute: {checkpointing: 1}", "compute.checkpointing is 1, expected true or false"),
        ("compute: {precision: fp8}", "expected one of fp32, bf16, fp16"),
        ("discriminator: {widths: [1, 2]}", "discriminator.widths is .*list of 4"),
        ("discriminator: {kind: voxels}", "none, image, triplane, occluded"),
        ("losses: {lpips: -1}", "losses.lpips is -1"),
        ("losses: {lpips: .nan}", "losses.lpips is nan"),
        ("losses: {lpips: 0, l2: 0, identity: 0}", "nothing could be learned"),
        ("losses: {lpips: 0, l2: 0, identity: 0, l1: 1}\nlosses: {}", "given twice"),
        ("render: {rays: 100}", "whole pictures are on: lpips, identity"),
        ("render: {backdrop: green}", "render.backdrop"),
        ("variant: encoder2", "set start to the file"),
        ("variant: encoder3", "encoder1, encoder2"),
        ("data: {kind: none}", "set source: generated"),
        ("schedule: {latent_steps: 5}", "losses.latent is 0"),
        ("data: {masks: maybe}", "require, ignore"),
        ("preset: huge", "one of paper, demo, smoke"),
        ("- 3", "expected keys and values"),
        ("a: [", "not readable YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not readable YAML"),
    ],
)
def test_bad_files_are_refused_by_name(text, message, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(DualEncError, match=message) as error:
        config_file.read_config(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_missing_package(tmp_path, monkeypatch):
    with pytest.raises(DualEncError, match="does not exist"):
        config_file.read_config(tmp_path / "none.yaml")
    (tmp_path / "c.yaml").write_text("seed: 1")
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        config_file.read_config(tmp_path / "c.yaml")
    (tmp_path / "c.json").write_text('{"seed": 1}')
    assert config_file.read_config(tmp_path / "c.json").seed == 1


def test_overrides_from_the_command_line():
    c = overridden(preset("smoke"), ["schedule.batch=6", "data.path=a/b", "schedule.ema=0.99", "render.samples=[6,4]"])
    assert (c.schedule.batch, c.data.path, c.schedule.ema, c.render.samples) == (6, "a/b", 0.99, (6, 4))
    for change, message in (("schedule.batch", "expected section"), ("nope.x=1", "no section"), ("seed=x", "seed is")):
        with pytest.raises(DualEncError, match=message):
            overridden(preset("smoke"), [change])


def test_a_run_goes_on_only_with_the_same_configuration(tmp_path):
    config = preset("smoke")
    stored = json.loads(json.dumps(config.to_dict()))
    check_same_run(config.replace(output={"log_every": 7}, schedule={"steps": 99}), stored, tmp_path)
    with pytest.raises(DualEncError, match="losses.l1: 1.0, now it is 2.0.*--fresh"):
        check_same_run(config.replace(losses={"l1": 2.0}), stored, tmp_path)
