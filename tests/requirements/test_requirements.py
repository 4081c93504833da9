"""The declared dependencies are complete: with nothing but requirements.txt (and PyTorch) every node runs.

Needs a package index and some minutes, so it runs only where it is asked for: DUALENC_SLOW=1.
"""

from __future__ import annotations

import importlib.metadata as metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# ComfyUI brings these; PyTorch needs the others.
GIVEN = ("torch", "torchvision")

pytestmark = pytest.mark.skipif(os.environ.get("DUALENC_SLOW") != "1", reason="takes minutes (set DUALENC_SLOW=1)")


def pytorch(folder: Path) -> None:
    """PyTorch and what it needs, from this environment, so that it is not downloaded again."""
    wanted, seen = list(GIVEN), set()
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in seen or name in ("numpy", "pillow"):
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for required in found.requires or []:
            if "extra ==" not in required:
                wanted.append(re.split(r"[<>=!~;\[ (]", required, maxsplit=1)[0])
        for top in {Path(str(file)).parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            source = Path(found.locate_file(top))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source, target_is_directory=source.is_dir())


def test_requirements_alone_run_every_node(tmp_path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    shared = tmp_path / "pytorch"
    shared.mkdir()
    pytorch(shared)
    Path(site, "pytorch.pth").write_text(f"{shared}\n", encoding="utf-8")
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", ROOT / "requirements.txt"]
    done = subprocess.run(list(map(str, install)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    work = tmp_path / "work"
    work.mkdir()
    command = [python, "-I", Path(__file__).with_name("run_nodes.py"), ROOT]
    done = subprocess.run(list(map(str, command)), cwd=work, capture_output=True, text=True)
    assert done.returncode == 0 and "every node ran" in done.stdout, done.stdout + done.stderr[-3000:]
