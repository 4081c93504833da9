"""Golden rule, vectors and a parity table (shown with ``-s`` or ``-v``)."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import dualenc_core as dc

_SPEC = importlib.util.spec_from_file_location("golden_rule", Path(__file__).with_name("golden_rule.py"))
golden_rule = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden_rule)


def _table(config) -> list:
    # A plain attribute: the copy of this file in tests/training must find the same list.
    return config.__dict__.setdefault("_parity_table", [])


@pytest.fixture(scope="session")
def rule():
    """The module golden_rule."""
    return golden_rule


@pytest.fixture(scope="session")
def vectors():
    """Tensors of one golden file by its name without suffix."""
    return lambda name: load_file(golden_rule.GOLDEN / f"{name}.safetensors")


@pytest.fixture(scope="session")
def parity(request):
    """``parity(set, {name: (actual, expected)}, tolerance, absolute=False)``: assert all, note the worst error."""
    rows = _table(request.config)

    def check(name: str, pairs: dict, tolerance: float, absolute: bool = False) -> None:
        errors = {
            key: float((a.detach().double() - e.double()).abs().max()) if absolute else golden_rule.relative_error(a, e)
            for key, (a, e) in pairs.items()
        }
        assert all(math.isfinite(error) for error in errors.values()), errors
        worst = max(errors, key=errors.get)
        rows.append((name, len(pairs), worst, errors[worst], tolerance, "absolute" if absolute else "relative L2"))
        assert errors[worst] <= tolerance, {k: v for k, v in errors.items() if v > tolerance}

    return check


def pytest_terminal_summary(terminalreporter, config):
    rows = list(_table(config))
    _table(config).clear()
    if rows and (config.option.verbose > 0 or config.option.capture == "no"):
        terminalreporter.section("parity: worst error / tolerance")
        for name, count, worst, error, tolerance, kind in rows:
            terminalreporter.write_line(
                f"{name:44} {error:9.2e} / {tolerance:.0e}  {kind:11}  {count:3} tensors, worst {worst}"
            )


@pytest.fixture(scope="session")
def generator():
    """The bundled one."""
    return dc.load_generator("demo")


@pytest.fixture(scope="session")
def head(generator):
    """A head that it makes by itself."""
    return generator.synthesize(generator.mapping(generator.latents(seed=3)))


@pytest.fixture(scope="session")
def heads(generator):
    """Two that it makes by itself, near the average."""
    with torch.no_grad():
        return generator.synthesize(generator.mapping(generator.latents(seed=2, count=2), truncation_psi=0.6))
