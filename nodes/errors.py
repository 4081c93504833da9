"""How ComfyUI shows our errors: by their short name, so that what went wrong comes first."""

from __future__ import annotations

import functools
from typing import Any

from ..dualenc_core.errors import DualEncError


def sentence_first(node: Any) -> Any:
    """The node class, whose errors ComfyUI shows as "NoFaceError: …", without the path of the module that has them.

    The class of the error is still the library's (a subclass of it). Only nodes do this: elsewhere errors cross
    processes, and a class that says it is built in cannot be pickled.
    """
    run = getattr(node, node.FUNCTION)

    @functools.wraps(run)
    def shown(*args: Any, **inputs: Any) -> Any:
        try:
            return run(*args, **inputs)
        except DualEncError as error:
            error.__class__ = _short(type(error))  # type: ignore[arg-type]  # classes can be hashed
            raise

    setattr(node, node.FUNCTION, shown)
    return node


@functools.cache
def _short(kind: Any) -> type[DualEncError]:
    if kind.__module__ == "builtins":
        return kind
    return type(kind.__name__, (kind,), {"__module__": "builtins", "__doc__": kind.__doc__})
