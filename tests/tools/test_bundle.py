"""The bundled weights: the catalog says what they are, and they belong together."""

from __future__ import annotations

import json

import pytest

from dualenc_core import load_generator
from dualenc_core.checkpoints import catalog
from dualenc_core.errors import CheckpointError
from tests.stylised import stylised_generator
from tests.tools.bundle import MOST, bundled_size, check, roles, write_roles


@pytest.fixture(scope="module")
def generator():
    return load_generator("demo")


def test_the_catalog_says_what_the_bundled_files_know(generator) -> None:
    """python -m tests.tools.bundle"""
    said = {entry.alias: entry.role for entry in catalog.read_catalog()}
    assert {alias: said[alias] for alias in roles(generator)} == roles(generator)


def test_the_bundled_files_belong_together_and_may_be_published(generator) -> None:
    check(generator, bundled_size())
    with pytest.raises(CheckpointError, match="60,000,001 bytes, expected at most"):
        check(generator, MOST + 1)
    with pytest.raises(CheckpointError, match="demo-e1 was trained for generator .* copy all three"):
        check(stylised_generator(), 0)


def test_other_heads_get_other_words(generator) -> None:
    assert roles(generator) != roles(stylised_generator())
    assert "procedural heads" in roles(stylised_generator())["demo-e2"]


def test_roles_are_written_and_the_rest_stays(tmp_path) -> None:
    path, before = tmp_path / "catalog.json", catalog.catalog_path().read_text(encoding="utf-8")
    path.write_text(before, encoding="utf-8")
    write_roles(path, {"demo": "something else"})
    after, old = (json.loads(text)["entries"] for text in (path.read_text(encoding="utf-8"), before))
    assert after[0]["role"] == "something else" and after[1:] == old[1:]
