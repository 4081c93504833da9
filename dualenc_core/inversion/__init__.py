"""Photo → head: what the input view shows, two encoders, one stitched head (paper Eq. 1-3, Fig. 4)."""

from .backdrop import on_backdrop
from .dual_encoder import DualEncoder, Inversion
from .occlusion import Surface, occlusion_mask, surface_resolution, visibility, visible_surface
from .preview import mask_preview
from .stitching import stitch

__all__ = [
    "DualEncoder",
    "Inversion",
    "Surface",
    "mask_preview",
    "occlusion_mask",
    "on_backdrop",
    "stitch",
    "surface_resolution",
    "visibility",
    "visible_surface",
]
