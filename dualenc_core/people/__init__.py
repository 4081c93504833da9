"""Realistic people with the truth for every view, made from an asset pack that is not part of this repository."""

from .pack import ENVIRONMENT, Pack
from .part import LABELS, Part
from .people import People, light_of, parts_of
from .person import LATENT_DIM, Person, people_from_latent, sample_people
from .renderer import BACKDROP, labels, normals, render, trace
from .scene import FAR, Hits, Scene
from .traits import numbers, trait_names

__all__ = [
    "BACKDROP",
    "ENVIRONMENT",
    "FAR",
    "LABELS",
    "LATENT_DIM",
    "Hits",
    "Pack",
    "Part",
    "People",
    "Person",
    "Scene",
    "labels",
    "light_of",
    "normals",
    "numbers",
    "parts_of",
    "people_from_latent",
    "render",
    "sample_people",
    "trace",
    "trait_names",
]
