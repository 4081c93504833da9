"""Photo → head: by two encoders and stitching (paper Eq. 1-3, Fig. 4), or by optimisation (W+, PTI, refinement)."""

from .backdrop import on_backdrop
from .dual_encoder import DualEncoder, Inversion
from .fitting import EarlyStop, Fitted, LatentStatistics, Objective, latent_statistics
from .hidden_colours import match_hidden_colours
from .latent import LatentSettings, optimise_latent
from .occlusion import Surface, occlusion_mask, surface_resolution, visibility, visible_surface
from .perceptual import Distance, find_distance
from .pivotal import PivotalSettings, pivotal_tuning
from .preview import mask_preview, mask_view
from .refine import RefineSettings, refine_triplane
from .stitching import stitch

__all__ = [
    "Distance",
    "DualEncoder",
    "EarlyStop",
    "Fitted",
    "Inversion",
    "LatentSettings",
    "LatentStatistics",
    "Objective",
    "PivotalSettings",
    "RefineSettings",
    "Surface",
    "find_distance",
    "latent_statistics",
    "mask_preview",
    "mask_view",
    "match_hidden_colours",
    "occlusion_mask",
    "on_backdrop",
    "optimise_latent",
    "pivotal_tuning",
    "refine_triplane",
    "stitch",
    "surface_resolution",
    "visibility",
    "visible_surface",
]
