"""Train the bundled models on synthetic people, or encoders like the paper.

The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse

EXAMPLES = """  python -m dualenc_core train --preset people-generator --traced runs/people --minutes 60
  python -m dualenc_core train --preset people-encoder1 --generator runs/people-generator/model.safetensors
  python -m dualenc_core train --preset smoke --out runs/smoke
  python -m dualenc_core train --preset paper --print-config > encoder1.yaml
  python -m dualenc_core train --config encoder1.yaml --set data.path=ffhq --out runs/encoder1
  python -m dualenc_core train --config encoder1.yaml --set variant=encoder2 \\
      --set start=runs/encoder1/model.safetensors --out runs/encoder2
  accelerate launch --num_processes 4 -m dualenc_core train --config encoder1.yaml --set schedule.batch=12
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..research.training import command

    command.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from ..research.training import command

    return command.run_command(args)
