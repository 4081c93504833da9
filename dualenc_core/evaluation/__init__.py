"""Measuring reconstructions: metrics, the procedural protocol with the truth for every view, reports."""

from .agreement import Agreement, visibility_agreement
from .metrics import depth_error, gradient_distance, mask_iou, mse, psnr, sharpness, ssim
from .patches import PatchStatistics, patch_distance
from .procedural import ProceduralSettings, evaluate_procedural, run_procedural
from .report import write_report
from .results import Aim, Report

__all__ = [
    "Agreement",
    "Aim",
    "PatchStatistics",
    "ProceduralSettings",
    "Report",
    "depth_error",
    "evaluate_procedural",
    "gradient_distance",
    "mask_iou",
    "mse",
    "patch_distance",
    "psnr",
    "run_procedural",
    "sharpness",
    "ssim",
    "visibility_agreement",
    "write_report",
]
