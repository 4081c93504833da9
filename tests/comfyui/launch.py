"""Start ComfyUI's main.py with a CPU build of torch.

The CPU build and the registry's torchvision disagree about two operators; importing torchvision fails unless their
schemas are declared first. Usage: python launch.py COMFYUI/main.py ARGUMENTS…
"""

import os
import runpy
import sys

import torch

_OPS = torch.library.Library("torchvision", "FRAGMENT")
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    try:
        _OPS.define(_schema)
    except RuntimeError:  # a matching build has declared it
        pass

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name="__main__")
