"""Train the demo models on procedural heads. The same command goes on where it stopped."""

from __future__ import annotations

import argparse

EXAMPLES = """  python -m dualenc_core train --preset demo-generator --minutes 60
  python -m dualenc_core train --preset demo-encoder1 --generator runs/demo-generator/model.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..training import command

    command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from ..training import command

    return command.run_command(args)
