"""Analytic 3D heads with charm: demo data with the truth for every view."""

from .field import Part, colour, field, parts, signed_distance, surface_normal
from .heads import LATENT_DIM, Heads
from .parameters import heads_from_latent, sample_heads
from .renderer import BACKDROP, RayHits, render, trace

__all__ = [
    "BACKDROP",
    "LATENT_DIM",
    "Heads",
    "Part",
    "RayHits",
    "colour",
    "field",
    "heads_from_latent",
    "parts",
    "render",
    "sample_heads",
    "signed_distance",
    "surface_normal",
    "trace",
]
