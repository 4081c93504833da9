"""What a real browser needs on this machine, and jobs for it (see browser/)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .server import PACK

SCRIPTS = Path(__file__).with_name("browser")
PLAYWRIGHT = Path(os.environ.get("PLAYWRIGHT_CORE", "~/browser/node_modules")).expanduser()


def missing_browser() -> str | None:
    """What no browser can be driven without; None if all is there."""
    missing = [name for name in ("chromium", "node") if not shutil.which(name)]
    if not (PLAYWRIGHT / "playwright-core").is_dir():
        missing.append(f"playwright-core in {PLAYWRIGHT} (set PLAYWRIGHT_CORE)")
    return f"no {', no '.join(missing)}" if missing else None


def drive(script: str, url: str, screenshots: Path, label: str, nodes2: bool, seconds: float, **job: Any) -> Any:
    """What a script of browser/ says of a running server; AssertionError with its words if it fails."""
    screenshots.mkdir(parents=True, exist_ok=True)
    job |= {"url": url, "playwright": str(PLAYWRIGHT), "chromium": shutil.which("chromium"), "nodes2": nodes2}
    job |= {"pack": PACK, "screenshots": str(screenshots), "label": label}
    command = [shutil.which("node"), str(SCRIPTS / script)]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
