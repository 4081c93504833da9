"""Tests in a real ComfyUI; where there is none they are skipped, with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .server import ROOT, Server, why_not

API = ROOT / "workflows" / "api"


def pytest_collection_modifyitems(items) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if here in Path(item.path).parents]
    reason = why_not() if ours else None
    for item in ours:
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests of a run."""
    with Server(tmp_path_factory.mktemp("comfyui")) as running:
        yield running


def api_prompt(name: str) -> dict:
    """A shipped API prompt, a fresh copy."""
    return json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
