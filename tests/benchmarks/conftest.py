"""The shapes of the tests of export, which its benchmark is tried on."""

from tests.export.conftest import egg, egg_mesh, egg_views, head, head_mesh, head_views

__all__ = ["egg", "egg_mesh", "egg_views", "head", "head_mesh", "head_views"]
