"""What runs in the browser, as far as it can be looked at without one (tests/comfyui/test_browser.py has one)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "nodes" / "web" / "js").glob("*.js"))
# What frontends warn about and will take away → what they want instead.
DEPRECATED = {
    r"\binputs?(\[[^\]]*\])?\??\.link\b": "node.isInputConnected(slot)",
    r"\.slot\??\.link\b": "node.isInputConnected(slot)",
    r"/scripts/ui/": "app.extensionManager",
}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_nothing_deprecated_is_used(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert {old: new for old, new in DEPRECATED.items() if re.search(old, text)} == {}


def test_the_patterns_find_what_they_look_for() -> None:
    for line in ("input.link !== null", "node.inputs[0]?.link", "inputs[slot].link", 'from "../../scripts/ui/x.js"'):
        assert any(re.search(old, line) for old in DEPRECATED), line
    assert not any(re.search(old, 'document.querySelector("link"); output.links') for old in DEPRECATED)
