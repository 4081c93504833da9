"""The library's floors: imports go down only, no two files import each other, and only commands know the research."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.house import ROOT, circles, imports, room, upward

CORE = "dualenc_core"


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return imports(ROOT)


def test_imports_go_down_only(graph) -> None:
    assert upward(graph) == []


def test_no_files_import_each_other(graph) -> None:
    assert circles(graph) == []


def test_only_commands_import_the_research(graph) -> None:
    users = {room(name) for name, others in graph.items() if any(o.startswith(f"{CORE}.research") for o in others)}
    assert {user for user in users if not user.startswith("research")} == {"commands"}
    nodes = [p.name for p in (ROOT / "nodes").glob("*.py") if "research" in p.read_text(encoding="utf-8")]
    assert nodes == []


def test_the_search_sees_every_kind_of_import(tmp_path: Path) -> None:
    files = {
        "__init__.py": "",
        "errors.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .camera import Camera",
        "camera.py": "def late():\n    from . import errors",
        "triplane.py": "import dualenc_core.camera",
        "attic/__init__.py": "",
        "attic/box.py": "from ..rendering import rays as r\nfrom .other import x",
        "attic/other.py": "from .box import y",
        "rendering/__init__.py": "",
        "rendering/rays.py": "",
    }
    for name, text in files.items():
        path = tmp_path / CORE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    graph = imports(tmp_path)
    assert graph[f"{CORE}.attic.box"] == {f"{CORE}.rendering.rays", f"{CORE}.attic.other"}
    assert graph[f"{CORE}.triplane"] == {f"{CORE}.camera"}
    found = sorted([name.removeprefix(f"{CORE}.") for name in group] for group in circles(graph))
    assert found == [["attic.box", "attic.other"], ["camera", "errors"]]
    wrong = upward(graph)
    assert f"{CORE}.errors imports {CORE}.camera" in wrong and f"{CORE}.attic.box stands on no floor" in wrong
    assert f"{CORE}.camera imports {CORE}.errors" not in wrong
