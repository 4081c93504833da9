"""Turn a published checkpoint into a safetensors file. Nothing in the checkpoint is executed.

Reads PanoHead generators (.pkl) and checkpoints of TriPlaneNet, pSp, ArcFace, CurricularFace and AlexNet (.pt, .pth).
Says which tensors were taken over and which were not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """  python -m dualenc_core convert easy-khair-180-gpc0.8-trans10-025000.pkl weights/panohead.safetensors
  python -m dualenc_core convert psp_ffhq.pt weights/encoder.safetensors --half
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="the published checkpoint")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store float16: half the size, about 0.1 %% rounding")
    parser.add_argument(
        "--planes", type=int, default=288, help="plane channels of the generator an encoder shall serve (default: 288)"
    )


def run(args: argparse.Namespace) -> None:
    from ..checkpoints import convert
    from ..files import check_target
    from .feedback import progress_bar

    check_target(args.target)
    with progress_bar("reading") as progress:
        report = convert(args.source, args.target, args.half, args.planes, progress)
    print(report)
