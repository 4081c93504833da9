"""Pictures of the shipped workflows after Run, in a real browser, to be looked at.

    python -m tests.comfyui.screenshots --out FOLDER [--quick] [--nodes2] [--size 1600x1000] [--url URL] [names …]

writes LABEL-NAME.png (and LABEL-NAME-app.png where a workflow is an app too) and prints where results are on the
screen. Without --url it starts a ComfyUI of its own (see server.py), with small random weights in the places of those
that only users have: a diffusion model for 05, PanoHead's own for 12. What those two draw is noise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from .chromium import drive, missing_browser
from .server import ROOT, Server, why_not

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
SECONDS = 3000


def put_foreign_weights(base: Path, names: list[str]) -> None:
    """Files that 05 and 12 ask for, in a ComfyUI's base folder, if they are among the names."""
    from .test_server import OFFICIAL, write_official
    from .tiny_diffusion import write_models

    if "05_head_into_diffusion" in names:
        write_models(base / "models")
    if "12_real_panohead" in names:
        folder = base / "models" / "dualenc"
        folder.mkdir(parents=True, exist_ok=True)
        write_official(folder / OFFICIAL)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.comfyui.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="workflows; all if none is named")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="coarser and fewer pictures, fewer steps")
    parser.add_argument("--nodes2", action="store_true", help="the Vue renderer")
    parser.add_argument("--size", default="1600x1000", help="of the window, in pixels")
    parser.add_argument("--url", help="a ComfyUI that is running")
    chosen = parser.parse_args(arguments)
    if reason := missing_browser() or (None if chosen.url else why_not()):
        raise SystemExit(reason)
    width, height = map(int, chosen.size.split("x"))
    label = "nodes2" if chosen.nodes2 else "classic"
    names = chosen.names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        raise SystemExit(f"no workflow {', '.join(unknown)}; there are {', '.join(NAMES)}")
    with ExitStack() as stack:
        url = chosen.url
        if url is None:
            base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            put_foreign_weights(base, names)
            url = stack.enter_context(Server(base)).url
        window = {"width": width, "height": height, "quick": chosen.quick, "apps": True}
        seen = drive("shots.mjs", url, chosen.out, label, chosen.nodes2, SECONDS, templates=names, **window)
    for name, facts in seen.items():
        print(f"{name}: {facts['error'] or 'ok'}, {facts['seconds']:.0f} s")
        for title, (left, top, right, bottom) in facts["shown"].items():
            hidden = "" if left >= 0 and top >= 0 and right <= width and bottom <= height else "  partly hidden"
            print(f"    {title}: {left}, {top} to {right}, {bottom}{hidden}")


if __name__ == "__main__":
    main(sys.argv[1:])
