"""Linear maps of tri-grid features that recolour a head, and how they are fitted."""

from .linear_map import ColourMap

__all__ = ["ColourMap"]
