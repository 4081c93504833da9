"""Edits of heads: regions, transfer of parts, blends, mirrors, styles, colours, attributes (paper §5.3).

    masks, cameras = complete_views(generator, reference, face_regions(photo)["hair"], camera)
    hair = union(region_mask(generator, reference, masks, cameras), region_mask(generator, target, …))
    result = transfer(generator, target, reference, hair, "hair")

Every edit takes Triplanes and gives a Triplane, which renders, exports and saves as any other.
"""

from ..choices import FACE_PARTS, PARTS, SEAMS
from .alignment import Alignment, align_head, fit_alignment
from .animation import Animation, animate, read_animation
from .attributes import Director, direct, directions_of, neutral, values_of
from .blend import blend, interpolate
from .completion import complete_views
from .compose import bake, complement, compose, intersection, read_region, union
from .directed import Directions
from .direction_file import VectorDirections, find_directions, load_directions
from .directions import load_direction, principal_directions, style_directions
from .face_regions import face_regions, rendered_face_regions
from .geometric import ball, behind_ears, box_region, cells_of_volume, half_space
from .mirror import complete_symmetric, mirror, mirror_mask, mirror_weight
from .morphology import dilate, erode, feather
from .parts import find_part
from .regions import mask_from_weight, region_mask, region_volume, ring
from .rows import parse_rows
from .statistics import Statistics, recolour, region_statistics
from .styles import edit_latent, mix_styles, restyle
from .transfer import RECIPES, Recipe, transfer
from .visemes import parse_visemes, read_visemes

__all__ = [
    "FACE_PARTS",
    "PARTS",
    "RECIPES",
    "SEAMS",
    "Alignment",
    "Animation",
    "Director",
    "Directions",
    "Recipe",
    "Statistics",
    "VectorDirections",
    "align_head",
    "animate",
    "bake",
    "ball",
    "behind_ears",
    "blend",
    "box_region",
    "cells_of_volume",
    "complement",
    "complete_symmetric",
    "complete_views",
    "compose",
    "dilate",
    "direct",
    "directions_of",
    "edit_latent",
    "erode",
    "face_regions",
    "feather",
    "find_directions",
    "find_part",
    "fit_alignment",
    "half_space",
    "interpolate",
    "intersection",
    "load_direction",
    "load_directions",
    "mask_from_weight",
    "mirror",
    "mirror_mask",
    "mirror_weight",
    "mix_styles",
    "neutral",
    "parse_rows",
    "parse_visemes",
    "principal_directions",
    "read_animation",
    "read_region",
    "read_visemes",
    "recolour",
    "region_mask",
    "region_statistics",
    "region_volume",
    "rendered_face_regions",
    "restyle",
    "ring",
    "style_directions",
    "transfer",
    "union",
    "values_of",
]
