"""Results as files: pictures, contact sheets, videos, meshes."""

from ..camera import METRES_PER_UNIT
from .density_grid import DensityGrid, density_grid, surface_density
from .images import save_alpha, save_depth, save_png, to_uint8, with_alpha
from .mesh import Mesh, extract_mesh, normals_of
from .mesh_colour import ColourViews, colour_cameras, colour_mesh, colour_views
from .mesh_file import MESH_SUFFIXES, companions, save_mesh
from .sheet import contact_sheet
from .splat_bake import bake_splats
from .splat_file import harmonics, in_file_axes, save_splats
from .splat_raster import render_splats
from .splats import Splats
from .texture import bake_texture
from .transfer_curve import to_linear, to_srgb
from .video import VIDEO_SUFFIXES, check_video, save_video

__all__ = [
    "MESH_SUFFIXES",
    "METRES_PER_UNIT",
    "VIDEO_SUFFIXES",
    "ColourViews",
    "DensityGrid",
    "Mesh",
    "Splats",
    "bake_splats",
    "bake_texture",
    "check_video",
    "colour_cameras",
    "colour_mesh",
    "colour_views",
    "companions",
    "contact_sheet",
    "density_grid",
    "extract_mesh",
    "harmonics",
    "in_file_axes",
    "normals_of",
    "render_splats",
    "save_alpha",
    "save_depth",
    "save_mesh",
    "save_png",
    "save_splats",
    "save_video",
    "surface_density",
    "to_linear",
    "to_srgb",
    "to_uint8",
    "with_alpha",
]
