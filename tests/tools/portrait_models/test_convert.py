"""The converter's readers, on files written here."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest

from dualenc_core.errors import CheckpointError
from tests.tools.portrait_models.convert import convert, face_model, region_edges
from tests.tools.portrait_models.flatbuffer import Table, packed_varints, protobuf_fields
from tests.tools.portrait_models.tflite import read_tflite


class Writer:
    """The smallest FlatBuffers writer: children first, references patched by absolute position."""

    def __init__(self) -> None:
        self.data = bytearray(8)

    def raw(self, content: bytes) -> int:
        return self._vector(len(content), content)

    def numbers(self, kind: str, values: list) -> int:
        return self._vector(len(values), struct.pack(f"<{len(values)}{kind}", *values))

    def references(self, positions: list[int]) -> int:
        self._align()
        start = len(self.data)
        self.data += struct.pack("<I", len(positions))
        for position in positions:
            # FlatBuffers offsets are unsigned; wrapping keeps them valid for children that lie before their parent.
            self.data += struct.pack("<I", (position - len(self.data)) & 0xFFFFFFFF)
        return start

    def table(self, **fields) -> int:
        """``f3=("i", 5)`` is a scalar in slot 3, ``f3=position`` a reference."""
        slots = {int(name[1:]): value for name, value in fields.items()}
        count = max(slots, default=-1) + 1
        self._align()
        vtable = len(self.data)
        size = 4 + 4 * len(slots)
        offsets = {slot: 4 + 4 * i for i, slot in enumerate(slots)}
        self.data += struct.pack("<HH", 4 + 2 * count, size)
        self.data += b"".join(struct.pack("<H", offsets.get(i, 0)) for i in range(count))
        self._align()
        start = len(self.data)
        self.data += struct.pack("<i", start - vtable)
        for value in slots.values():
            if isinstance(value, tuple):
                self.data += struct.pack("<" + value[0], value[1]).ljust(4, b"\0")
            else:
                self.data += struct.pack("<I", (value - len(self.data)) & 0xFFFFFFFF)
        return start

    def finish(self, root: int, identifier: bytes = b"TFL3") -> bytes:
        self.data[:8] = struct.pack("<I", root) + identifier
        return bytes(self.data)

    def _vector(self, length: int, content: bytes) -> int:
        self._align()
        start = len(self.data)
        self.data += struct.pack("<I", length) + content
        return start

    def _align(self) -> None:
        self.data += b"\0" * (-len(self.data) % 4)


@pytest.fixture
def forward_offsets(monkeypatch):
    """The writer puts children first; real files only point forward. Let the reader wrap as 32-bit arithmetic does."""
    follow = Table._follow
    monkeypatch.setattr(Table, "_follow", lambda self, position: follow(self, position) & 0xFFFFFFFF)


def tiny_model(weight: np.ndarray, code: int = 3) -> bytes:
    """One 1×1 convolution with float16 weights behind a DEQUANTIZE."""
    w = Writer()
    buffers = w.references([w.table(), w.table(f0=w.raw(weight.astype(np.float16).tobytes()))])

    def tensor(shape: list[int], kind: int, buffer: int) -> int:
        return w.table(f0=w.numbers("i", shape), f1=("b", kind), f2=("I", buffer), f3=w.raw(b"name"))

    shape = list(weight.shape)
    tensors = w.references(
        [tensor([1, 4, 4, 2], 0, 0), tensor(shape, 1, 1), tensor(shape, 0, 0), tensor([1, 4, 4, 3], 0, 0)]
    )
    codes = w.references([w.table(f0=("b", 6)), w.table(f0=("b", code))])
    options = w.table(f0=("b", 0), f1=("i", 1), f2=("i", 1), f3=("b", 1))
    dequantize = w.table(f0=("I", 0), f1=w.numbers("i", [1]), f2=w.numbers("i", [2]))
    conv = w.table(f0=("I", 1), f1=w.numbers("i", [0, 2]), f2=w.numbers("i", [3]), f4=options)
    graph = w.table(f0=tensors, f1=w.numbers("i", [0]), f2=w.numbers("i", [3]), f3=w.references([dequantize, conv]))
    return w.finish(w.table(f0=("I", 3), f1=codes, f2=w.references([graph]), f4=buffers))


def test_reads_a_convolution_and_folds_dequantize(forward_offsets):
    weight = np.arange(6, dtype=np.float32).reshape(3, 1, 1, 2)
    model = read_tflite(tiny_model(weight))
    (op,) = model.graph["ops"]
    assert (op["kind"], op["stride"], op["padding"], op["activation"]) == ("conv", [1, 1], "same", "relu")
    (stored,) = model.weights.values()
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, weight.transpose(0, 3, 1, 2))


def test_unknown_operations_and_files_are_named(forward_offsets):
    with pytest.raises(CheckpointError, match="operation 99"):
        read_tflite(tiny_model(np.zeros((3, 1, 1, 2)), code=99))
    for garbage in (b"", b"12345678", b"PK\x03\x04 not a model"):
        with pytest.raises(CheckpointError, match="not a TFLite model"):
            read_tflite(garbage)


def test_protobuf_mesh():
    vertices = np.arange(468 * 5, dtype=np.float32)
    packed = b"".join(bytes([i & 0x7F | 0x80, i >> 7]) for i in (1, 2, 300))

    def message(number: int, content: bytes) -> bytes:
        size = len(content)
        return bytes([number << 3 | 2, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + content

    mesh = message(3, vertices.tobytes()) + message(4, packed)
    landmark = b"\x08\x04" + b"\x15" + struct.pack("<f", 0.25)
    model = face_model(message(1, mesh) + message(2, landmark))
    np.testing.assert_array_equal(model["vertices"], vertices.reshape(468, 5)[:, :3])
    assert model["triangles"].tolist() == [[1, 2, 300]] and model["basis"][4] == 0.25
    assert packed_varints(packed) == [1, 2, 300]
    with pytest.raises(CheckpointError, match="wire type"):
        list(protobuf_fields(b"\x0f\x00"))
    with pytest.raises(CheckpointError, match="468"):
        face_model(message(2, landmark))


def test_region_edges_reads_the_literal_only():
    source = "EYE = frozenset([(2, 1), (0, 3)])\nALL = frozenset().union(EYE)\n"
    assert region_edges(source, "EYE") == [[0, 3], [2, 1]]
    with pytest.raises(CheckpointError, match="NOSE"):
        region_edges(source, "NOSE")


def test_wrong_packages_are_named_and_nothing_is_written(tmp_path):
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other/__init__.py", "")
    for path in (wheel, tmp_path / "absent.whl"):
        with pytest.raises(CheckpointError, match="mediapipe"):
            convert(path, tmp_path / "mesh.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
