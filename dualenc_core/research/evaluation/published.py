"""Published figures that a full-size run must be compared with (paper.md §4)."""

from __future__ import annotations

# L2, LPIPS, ID, FID on FFHQ+LPFF; the same on CelebA-HQ; seconds a photo.
SAME_VIEW: dict[str, tuple[tuple[float, float, float, float], tuple[float, float, float, float], float]] = {
    "W+ optimisation": ((0.035, 0.17, 0.57, 65.30), (0.049, 0.19, 0.49, 63.57), 49.19),
    "PTI": ((0.019, 0.11, 0.89, 59.40), (0.033, 0.13, 0.86, 57.85), 86.52),
    "pSp": ((0.028, 0.15, 0.77, 90.52), (0.033, 0.17, 0.70, 88.20), 0.08),
    "e4e": ((0.064, 0.24, 0.52, 82.99), (0.080, 0.26, 0.42, 84.70), 0.05),
    "TriPlaneNet v2": ((0.017, 0.10, 0.86, 98.97), (0.020, 0.11, 0.80, 99.02), 0.17),
    "GOAE": ((0.015, 0.09, 0.87, 168.96), (0.017, 0.10, 0.86, 173.64), 0.15),
    "dual encoder": ((0.017, 0.10, 0.87, 65.44), (0.021, 0.12, 0.84, 62.58), 0.37),
}
# MEAD, dual encoder: turn → LPIPS, ID, FID.
MEAD_DUAL = {60: (0.223, 0.706, 47.2), 30: (0.178, 0.726, 43.8)}
# LPIPS, ID, FID.
ABLATION = {
    "no D (Encoder 1)": (0.10, 0.87, 89.50),
    "D on images": (0.17, 0.67, 72.86),
    "D on whole tri-grids": (0.15, 0.70, 66.24),
    "D on occluded cells (Encoder 2)": (0.14, 0.75, 64.02),
    "dual encoder": (0.10, 0.87, 65.44),
}
# What our methods are called there.
SAME_METHOD = {
    "wplus": "W+ optimisation",
    "pti": "PTI",
    "cells": "dual encoder",
    "points": "dual encoder",
}
