"""The examples in docstrings: every one runs and says what it claims, and the names that people use most have one."""

from __future__ import annotations

import doctest
import importlib
import types
from pathlib import Path

import pytest
import torch

import dualenc_core

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "dualenc_core"
PROMPT = ">>> "
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in CORE.rglob("*.py")
    if PROMPT in path.read_text(encoding="utf-8")
)
# What a first script touches, beside the names of the package itself.
MOST_USED = {
    "camera": ["Camera.look_at", "Camera.orbit", "Camera.swing", "Camera.from_label", "Camera.mirrored"],
    "triplane": ["Triplane.save"],
    "point_weight": ["Visibility", "LabelVolume"],
    "generator.panohead": ["from_config", "latents", "mapping", "synthesize", "query", "render"],
    "encoders.head_encoder": ["HeadEncoder.encode"],
    "inversion": ["on_backdrop", "optimise_latent"],
    "rendering": ["normals", "relative_depth"],
    "editing": [
        "ball", "blend", "dilate", "edit_latent", "half_space", "interpolate", "mirror", "mix_styles", "parse_rows",
        "region_mask", "ring", "transfer", "union",
    ],
}  # fmt: skip
# Families of errors say what they are in one line; the portrait's examples need a photo of a face.
WITHOUT = {
    "CheckpointError", "GeneratorMismatchError", "MissingDependencyError", "NoFaceError", "HeadEncoder", "PanoHead",
    "align_portrait",
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run_and_leave_nothing_behind(module: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Untrained networks are other ones for every seed.
    torch.manual_seed(0)
    home = importlib.import_module(module)
    # What the module defines, without what it imports: an example says where the rest comes from.
    own = {
        name: value
        for name, value in vars(home).items()
        if not isinstance(value, types.ModuleType) and getattr(value, "__module__", module) == module
    }
    result = doctest.testmod(home, globs=own, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(set(dualenc_core._HOME_OF_NAME) - WITHOUT))
def test_a_public_name_has_an_example(name: str) -> None:
    assert PROMPT in getattr(dualenc_core, name).__doc__


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in MOST_USED for name in MOST_USED[module]])
def test_a_name_that_people_use_has_an_example(module: str, name: str) -> None:
    owner = importlib.import_module(f"dualenc_core.{module}")
    for part in name.split("."):
        owner = getattr(owner if hasattr(owner, part) else owner.PanoHead, part)
    assert PROMPT in owner.__doc__


def test_an_example_that_lies_is_found() -> None:
    lying = types.ModuleType("lying", ">>> 1 + 1\n3")
    assert doctest.testmod(lying, report=False, verbose=False).failed == 1
