"""Results as files: pictures, contact sheets, videos, meshes."""

from .density_grid import DensityGrid, density_grid, surface_density
from .images import save_alpha, save_depth, save_png, to_uint8
from .mesh import Mesh, extract_mesh, normals_of
from .mesh_colour import ColourViews, colour_cameras, colour_mesh, colour_views
from .mesh_file import METRES_PER_UNIT, save_mesh
from .sheet import contact_sheet
from .splat_bake import bake_splats
from .splat_file import harmonics, in_file_axes, save_splats
from .splat_raster import render_splats
from .splats import Splats
from .texture import bake_texture
from .transfer_curve import to_linear, to_srgb
from .video import save_video

__all__ = [
    "METRES_PER_UNIT",
    "ColourViews",
    "DensityGrid",
    "Mesh",
    "Splats",
    "bake_splats",
    "bake_texture",
    "colour_cameras",
    "colour_mesh",
    "colour_views",
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
]
