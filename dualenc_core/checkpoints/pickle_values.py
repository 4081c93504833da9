"""What the restricted pickle machine works with: stand-ins for globals, limits, and checks on values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import CheckpointError

MAX_OPERATIONS = 1_000_000
"""Opcodes for one file, streams inside it included. Two full-size generators in one file take 65 000."""
MAX_DEPTH = 256
MAX_KEY_INT = 2**31


class Budget:
    """Operations left to a file; streams that are nested in it draw on the same budget."""

    __slots__ = ("operations",)

    def __init__(self, operations: int = MAX_OPERATIONS) -> None:
        self.operations = operations


class Buildable:
    """An object of ours that accepts the BUILD opcode."""

    __slots__ = ()

    def build(self, state: object) -> None:
        """Take the state as data. Raises ``CheckpointError`` if it is not what this object expects."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Global:
    """What a global name of the file stands for.

    Attributes:
        name: dotted name, for messages.
        call: for REDUCE: from the argument tuple to a value; None = may not be called.
        new: for NEWOBJ: an empty object; None = may not be instantiated.
    """

    name: str
    call: Callable[[tuple], object] | None = None
    new: Callable[[], object] | None = None


def brief(value: object) -> str:
    """A short description of a value of the file that never walks into containers."""
    if isinstance(value, str):
        return repr(value[:80]) + ("…" if len(value) > 80 else "")
    if isinstance(value, Global):
        return f"the global {value.name}"
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 2**64 else "a huge integer"
    return f"a {type(value).__name__}"


def check_key(value: object) -> object:
    """Return a dictionary key or set member if hashing it is cheap and cannot be made to collide."""
    if value is None or isinstance(value, str) or (isinstance(value, int) and abs(value) < MAX_KEY_INT):
        return value
    raise CheckpointError(f"a dictionary key or set member is {brief(value)}; only str, small int, bool, None are read")


def check_depth(root: object, limit: int = MAX_DEPTH) -> None:
    """Refuse a result in which something can only be reached through more than ``limit`` containers.

    Breadth first and iterative; every container is visited once, so sharing and cycles cost nothing.
    """
    level: list[object] = [root]
    seen = {id(root)}
    for _ in range(limit):
        following: list[object] = []
        for value in level:
            children: Iterable[object]
            if isinstance(value, dict):
                children = value.values()
            elif isinstance(value, list | tuple):
                children = value
            else:
                children = (getattr(value, "state", None),)
            for child in children:
                if isinstance(child, dict | list | tuple | Buildable) and id(child) not in seen:
                    seen.add(id(child))
                    following.append(child)
        if not following:
            return
        level = following
    raise CheckpointError(f"values are nested more than {limit} deep")
