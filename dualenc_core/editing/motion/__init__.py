"""Heads that move: faces by a table of motions, and any matter along a field of displacements."""

from .motions import FaceField, FaceMotions, Motions, load_motions
from .openings import Openings, Paint
from .spline import Spline
from .warper import Field, Warper

__all__ = [
    "FaceField",
    "FaceMotions",
    "Field",
    "Motions",
    "Openings",
    "Paint",
    "Spline",
    "Warper",
    "load_motions",
]
