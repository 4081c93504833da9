"""Any photo → aligned crop and camera in PanoHead's convention, matte, overlay, report."""

from __future__ import annotations

from .align import Portrait, align_like, align_portrait
from .mask import read_mask, read_masks
from .report import Face, Report, Warning
from .weights import portrait_weights_dir

__all__ = [
    "Face",
    "Portrait",
    "Report",
    "Warning",
    "align_like",
    "align_portrait",
    "portrait_weights_dir",
    "read_mask",
    "read_masks",
]
