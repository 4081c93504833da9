"""Volume rendering of tri-grids: rays, depth sampling, lookup, marching, and the plain renderer that joins them."""

from .maps import normals, relative_depth

__all__ = ["normals", "relative_depth"]
