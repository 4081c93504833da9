"""Just enough FlatBuffers and Protocol Buffers to read TFLite models and the canonical face mesh.

Developer tools only (``convert_tflite``); nothing here runs when a portrait is aligned. Both formats are read by
field number, so no generated code and no extra package is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dualenc_core.errors import CheckpointError


class Table:
    """A FlatBuffers table: fields by their index in the schema, defaults for those that are absent."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        vtable = position - self._read("i", position)
        slots = (self._read("H", vtable) - 4) // 2
        self._slots = [self._read("H", vtable + 4 + 2 * i) for i in range(slots)]

    @classmethod
    def root(cls, data: bytes, identifier: bytes) -> Table:
        """The root table. Raises CheckpointError when ``data`` does not carry the file ``identifier``."""
        if len(data) < 8 or data[4:8] != identifier:
            raise CheckpointError(f"file identifier is {data[4:8]!r}, expected {identifier!r}: not a TFLite model")
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def scalar(self, field: int, kind: str, default: float = 0) -> float:
        """A number; ``kind`` is a struct code such as ``"b"`` (int8) or ``"i"`` (int32)."""
        position = self._field(field)
        return default if position is None else self._read(kind, position)

    def table(self, field: int) -> Table | None:
        """A nested table, or None."""
        position = self._field(field)
        return None if position is None else Table(self._data, self._follow(position))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        return [Table(self._data, self._follow(p)) for p in self._elements(field, 4)]

    def numbers(self, field: int, kind: str) -> list[int]:
        """A vector of numbers."""
        return [self._read(kind, p) for p in self._elements(field, struct.calcsize("<" + kind))]

    def raw(self, field: int) -> bytes:
        """A vector of bytes, or a string."""
        position = self._field(field)
        if position is None:
            return b""
        start = self._follow(position)
        length = self._read("I", start)
        return self._data[start + 4 : start + 4 + length]

    def _elements(self, field: int, size: int) -> list[int]:
        position = self._field(field)
        if position is None:
            return []
        start = self._follow(position)
        return [start + 4 + size * i for i in range(self._read("I", start))]

    def _field(self, field: int) -> int | None:
        offset = self._slots[field] if field < len(self._slots) else 0
        return self._position + offset if offset else None

    def _follow(self, position: int) -> int:
        return position + self._read("I", position)

    def _read(self, kind: str, position: int) -> int:
        return struct.unpack_from("<" + kind, self._data, position)[0]


def protobuf_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of one Protocol Buffers message: integers for varints, bytes for everything else."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(data, position)
        else:
            if wire == 2:
                size, position = _varint(data, position)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise CheckpointError(f"wire type {wire} at byte {position} is not a Protocol Buffers message")
            value, position = data[position : position + size], position + size
        yield number, value


def packed_varints(data: bytes) -> list[int]:
    """The integers of a packed repeated field."""
    values, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        values.append(value)
    return values


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
