"""The golden rule and parity table of tests/encoders, whose vectors these tests share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location(
    "encoders_conftest", Path(__file__).parents[2] / "encoders" / "conftest.py"
)
_shared = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_shared)

rule, vectors, parity = _shared.rule, _shared.vectors, _shared.parity
pytest_terminal_summary = _shared.pytest_terminal_summary
