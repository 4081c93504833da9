"""List the known weights files: which are here, where to get the others, their licences, and how to convert them."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """  python -m dualenc_core weights
  python -m dualenc_core weights --verify
  python -m dualenc_core weights --folder /data/weights --search ~/Downloads
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="weights folder (default: the repository's, or $DUALENC_WEIGHTS)")
    parser.add_argument("--search", type=Path, nargs="*", default=[], help="further folders to look into")
    parser.add_argument("--verify", action="store_true", help="compare SHA-256 too (reads the files)")


def run(args: argparse.Namespace) -> None:
    from ..checkpoints import format_status

    print(format_status(args.folder, args.search, args.verify))
