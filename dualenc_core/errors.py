"""Exceptions of the library: each message names the thing, its value, what was expected, and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType


class DualEncError(ValueError):
    """A wrong input or state that the caller can act on; the command line prints it without a traceback.

    Example:
        >>> from dualenc_core import Camera, DualEncError
        >>> try:
        ...     Camera.look_at(radius=0)
        ... except DualEncError as error:
        ...     print(error)
        radius is 0, expected a positive distance (2.7 is usual)
    """


class CheckpointError(DualEncError):
    """A weights file that is missing, broken, hostile, or not what it claims to be."""


class GeneratorMismatchError(DualEncError):
    """A triplane is used with a generator other than the one that made it."""


class NoFaceError(DualEncError):
    """No usable face in a photo."""


class MissingDependencyError(DualEncError, ImportError):
    """An optional package is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency where it is used.

    Args:
        module: import name, for example ``"cv2"``.
        extra: what to give to ``pip install``, for example ``"opencv-python"``.

    Raises:
        MissingDependencyError: the package is absent; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"the Python package {module!r} is needed here but cannot be imported ({error}); "
            f"install it with: pip install {extra}"
        ) from error
