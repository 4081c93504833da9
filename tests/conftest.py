"""Test-wide set-up: one torch thread pool size, a torchvision stand-in for CPU builds, shared fixtures."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

# Workers of pytest-xdist share the cores.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))

# The CPU build of torch and the registry's torchvision disagree about two operators that torchvision only declares
# in its compiled part; importing it (lpips does) fails unless their schemas exist.
_TORCHVISION_OPS = torch.library.Library("torchvision", "FRAGMENT")
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    try:
        _TORCHVISION_OPS.define(_schema)
    except RuntimeError:  # a matching torchvision build has declared it already
        pass


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference vectors."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def pack() -> ModuleType:
    """The repository loaded as ComfyUI loads a pack: under a name that it does not know."""
    root = Path(__file__).resolve().parents[1]
    name = "dualenc_pack_under_test"
    spec = importlib.util.spec_from_file_location(name, root / "__init__.py", submodule_search_locations=[str(root)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Parity:
    """Compares results with reference vectors and remembers the worst error of each set for the summary."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[str, float, float]]] = {}

    def check(self, name: str, actual: torch.Tensor, expected: torch.Tensor, tolerance: float, group: str) -> None:
        """Assert max |actual - expected| <= tolerance, element by element, in float64."""
        assert actual.shape == expected.shape, f"{group}/{name}: {tuple(actual.shape)} != {tuple(expected.shape)}"
        error = float((actual.detach().double() - expected.double()).abs().max())
        self.rows.setdefault(group, []).append((name, error, tolerance))
        assert error <= tolerance, f"{group}/{name}: error {error:.2e} > {tolerance:.0e}"


_PARITY = Parity()


@pytest.fixture(scope="session")
def parity() -> Parity:
    return _PARITY


def pytest_terminal_summary(terminalreporter) -> None:
    if not _PARITY.rows:
        return
    terminalreporter.section("golden parity: the tensor closest to its tolerance in each set")
    for group, rows in sorted(_PARITY.rows.items()):
        name, error, tolerance = max(rows, key=lambda row: row[1] / row[2])
        terminalreporter.write_line(
            f"{group:<38} {len(rows):3d} tensors  worst {error:.1e} / {tolerance:.0e}  ({name})"
        )
