"""Results as files: pictures, contact sheets, videos, meshes."""

from .density_grid import DensityGrid, density_grid, surface_density
from .images import save_alpha, save_depth, save_png, to_uint8, with_alpha
from .mesh import Mesh, extract_mesh, normals_of
from .mesh_colour import ColourViews, colour_cameras, colour_mesh, colour_views
from .mesh_file import MESH_SUFFIXES, METRES_PER_UNIT, companions, save_mesh
from .sheet import contact_sheet
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
    "bake_texture",
    "check_video",
    "colour_cameras",
    "colour_mesh",
    "colour_views",
    "companions",
    "contact_sheet",
    "density_grid",
    "extract_mesh",
    "normals_of",
    "save_alpha",
    "save_depth",
    "save_mesh",
    "save_png",
    "save_video",
    "surface_density",
    "to_linear",
    "to_srgb",
    "to_uint8",
    "with_alpha",
]
