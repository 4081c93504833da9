"""Start ComfyUI's main.py with a CPU build of torch.

The CPU build and the registry's torchvision disagree about two operators; importing torchvision fails unless their
schemas are declared first. Newer ComfyUI imports torchaudio at its start; where there is none, an empty module does.
Usage: python launch.py COMFYUI/main.py ARGUMENTS…
"""

import importlib.machinery
import importlib.util
import os
import runpy
import sys
import types

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

if importlib.util.find_spec("torchaudio") is None:
    for _name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
        _module = types.ModuleType(_name)
        _module.__spec__ = importlib.machinery.ModuleSpec(_name, None)
        _module.__path__ = []
        sys.modules[_name] = _module
        if "." in _name:
            setattr(sys.modules["torchaudio"], _name.split(".")[1], _module)

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name="__main__")
