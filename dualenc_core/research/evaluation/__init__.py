"""Measuring reconstructions: judges, the procedural protocol with the truth for every view, reports."""

from ...choices import METHODS
from .agreement import Agreement, visibility_agreement
from .fid import FeatureStatistics, find_inception, frechet_distance
from .judges import Judges, find_judges
from .methods import Baselines, methods
from .patches import PatchStatistics, patch_distance
from .photo_report import write_photo_report
from .photos import PhotoReport, PhotoSettings, evaluate_photos
from .procedural import ProceduralSettings, evaluate_procedural, run_procedural
from .report import write_report
from .results import Aim, Report

__all__ = [
    "Agreement",
    "METHODS",
    "Aim",
    "Baselines",
    "FeatureStatistics",
    "Judges",
    "PatchStatistics",
    "PhotoReport",
    "PhotoSettings",
    "ProceduralSettings",
    "Report",
    "evaluate_photos",
    "evaluate_procedural",
    "find_inception",
    "find_judges",
    "frechet_distance",
    "methods",
    "patch_distance",
    "run_procedural",
    "visibility_agreement",
    "write_photo_report",
    "write_report",
]
