"""Broken and hostile pickles: one clear error each, quickly, in bounded memory, and nothing executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import tracemalloc

import pytest
import torch

from dualenc_core.checkpoints import read_official
from dualenc_core.errors import CheckpointError

P4 = b"\x80\x04"
SECONDS = 5.0
MEGABYTES = 64


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, arguments: bytes) -> bytes:
    return P4 + stack_global(module, name) + arguments + b"R."


def storage_stream(count: int, data: bytes, cls: str = "torch FloatStorage", declared: int | None = None) -> bytes:
    """A legacy torch.save stream made by hand."""
    module, name = cls.split(" ")
    identifier = (
        b"(" + text("storage") + b"c" + module.encode() + b"\n" + name.encode() + b"\n" + text("0") + text("cpu")
    )
    identifier += b"\x8a\x08" + struct.pack("<q", count if declared is None else declared) + b"Nt"
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [b"\x80\x02" + identifier + b"Q.", pickle.dumps(["0"], 2), struct.pack("<q", count), data]
    return b"".join(parts)


def storage(stream: bytes) -> bytes:
    return stack_global("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(stream)) + stream + b"\x85R"


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"


def tensor(stream: bytes, offset: int, size: tuple, stride: tuple) -> bytes:
    arguments = b"(" + storage(stream) + b"\x8a\x08" + struct.pack("<q", offset) + numbers(*size) + numbers(*stride)
    return P4 + stack_global("torch._utils", "_rebuild_tensor_v2") + arguments + b"\x89}tR."


def zipped() -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, stream)
    return stream.getvalue()


def ten_references(index: int) -> bytes:
    """A new list of ten references to the list before it: ten to the power of ``index`` values if it were unfolded."""
    return b"]\x94(" + (b"j" + struct.pack("<I", index)) * 10 + b"e"


class _Run:
    def __init__(self, function, *arguments):
        self.reduction = function, arguments

    def __reduce__(self):
        return self.reduction


FOUR = storage_stream(4, bytes(16))
OPAQUE = stack_global("torch.nn.modules.container", "Sequential") + b")\x81"
PERSISTENT = ("torch_utils.persistence", "_reconstruct_persistent_obj")
CASES: dict[str, tuple[bytes, str]] = {
    # hostile globals
    "os.system": (pickle.dumps(_Run(os.system, "touch MARK")), "system"),
    "builtins.eval": (pickle.dumps(_Run(eval, "open('MARK','w')")), "builtins.eval"),
    "builtins.exec, protocol 2": (pickle.dumps(_Run(exec, "open('MARK','w')"), 2), "exec"),
    "builtins.getattr": (call("builtins", "getattr", b"NN\x86"), "builtins.getattr"),
    "dotted name": (call("torch._utils", "_rebuild_parameter.__globals__", b")"), "__globals__"),
    "torch.load": (call("torch", "load", b")"), "torch.load"),
    "global inside a storage": (P4 + storage(storage_stream(1, bytes(4), "os system")) + b".", "os.system"),
    "STACK_GLOBAL of numbers": (P4 + b"K\x01K\x02\x93.", "1 and 2"),
    "endless global name": (P4 + b"c" + b"a" * 100_000, "longer than 256"),
    # hostile calls
    "call of a text": (P4 + text("os") + b")R.", "may not be called"),
    "call of a class": (P4 + stack_global("torch.nn.modules.container", "Sequential") + b")R.", "may not be called"),
    "call with a list": (P4 + stack_global("collections", "OrderedDict") + b"]R.", "argument tuple"),
    "call of a result": (P4 + stack_global("collections", "OrderedDict") + b")R)R.", "may not be called"),
    "nested calls": (
        P4 + stack_global("collections", "OrderedDict") * 1000 + b")" + b"R" * 1000 + b".",
        "OrderedDict is called with a dict",
    ),
    "object of a function": (P4 + stack_global(*PERSISTENT) + b")\x81.", "not a class known"),
    "persistent, other version": (call(*PERSISTENT, b"}" + text("type") + text("class") + b"s\x85"), "version None"),
    "BUILD with __class__": (P4 + OPAQUE + b"}" + text("__class__") + b"Nsb.", "special attributes"),
    "BUILD with __dict__": (P4 + OPAQUE + b"}" + text("__dict__") + b"}sb.", "special attributes"),
    "BUILD with slots": (P4 + OPAQUE + b"N}\x86b.", "a tuple"),
    "BUILD on a global": (P4 + stack_global(*PERSISTENT) + b"}b.", "sets the state of the global"),
    "BUILD on a dict": (P4 + b"}}b.", "sets the state of a dict"),
    # refused operations
    "INST": (P4 + b"(ios\nsystem\n.", "INST is refused"),
    "OBJ": (P4 + b"(" + stack_global("collections", "OrderedDict") + b"o.", "OBJ is refused"),
    "EXT1": (P4 + b"\x82\x01.", "EXT1 is refused"),
    "EXT4": (P4 + b"\x84\x01\x00\x00\x00.", "EXT4 is refused"),
    "NEWOBJ_EX": (P4 + b")}\x92.", "NEWOBJ_EX is refused"),
    "PERSID": (P4 + b"Pabc\n.", "PERSID is refused"),
    "BINPERSID": (P4 + text("x") + b"Q.", "persistent id"),
    "NEXT_BUFFER": (P4 + b"\x97.", "NEXT_BUFFER is refused"),
    "protocol 0": (P4 + b"I1\n.", "INT is refused"),
    "protocol 200": (b"\x80\x04\x80\xc8.", "protocol 200"),
    # nesting
    "100000 marks": (P4 + b"(" * 100_000, "nested more than 256"),
    "100000 open lists": (P4 + b"]" * 100_001 + b"a" * 100_000 + b".", "on the stack"),
    "100000 nested tuples": (P4 + b"N" + b"\x85" * 100_000 + b".", "nested more than 256"),
    "40000 nested dicts": (P4 + b"}K\x00" * 40_000 + b"N" + b"s" * 40_000 + b".", "nested more than 256"),
    "list in itself": (P4 + b"]\x94h\x00a.", "a dict with the entry 'G_ema'"),
    # sizes
    "BINBYTES8 of 2^60": (P4 + b"\x8e" + struct.pack("<Q", 2**60), "are left"),
    "BINUNICODE8 of 2^63": (P4 + b"\x8d" + struct.pack("<Q", 2**63), "are left"),
    "FRAME of 2^62": (P4 + b"\x95" + struct.pack("<Q", 2**62) + b"N.", "frame of"),
    "LONG4 of 2^31": (P4 + b"\x8b\xff\xff\xff\x7f", "LONG4 is refused"),
    "LONG_BINGET of 2^32-1": (P4 + b"j\xff\xff\xff\xff.", "never stored"),
    "LONG_BINPUT of 2^32-1": (P4 + b"]r\xff\xff\xff\xff.", "a list"),
    "storage of 2^60 numbers": (P4 + storage(storage_stream(2**60, bytes(16))) + b".", "has 16 bytes"),
    "negative storage": (P4 + storage(storage_stream(-4, bytes(16))) + b".", "-4"),
    "storage lies about count": (P4 + storage(storage_stream(4, bytes(16), declared=8)) + b".", "declares 8"),
    "storage cut off": (P4 + storage(FOUR[:40]) + b".", "truncated"),
    "tensor beyond its storage": (tensor(FOUR, 1, (4,), (1,)), "leaves its storage"),
    "tensor of 2^40 by stride 0": (tensor(FOUR, 0, (2**40,), (0,)), "leaves its storage"),
    "tensor of negative stride": (tensor(FOUR, 3, (4,), (-1,)), "negative"),
    "tensor of overflowing size": (tensor(FOUR, 0, (2**40, 2**40), (0, 0)), "leaves its storage"),
    "tensor of 100 dimensions": (tensor(FOUR, 0, (1,) * 100, (1,) * 100), "at most 8"),
    # bombs
    "3 million operations": (P4 + b"}" + b"q\x00" * 3_000_000 + b".", "1000000 pickle operations"),
    "memo bomb": (P4 + b"]" + b"\x94" * 900_000 + b".", "stored for later reference"),
    "billion laughs": (P4 + b"]\x94" + b"".join(ten_references(i) for i in range(200)) + b".", "left over"),
    "billion laughs, one value": (P4 + b"N\x94" + b"h\x00h\x00\x86q\x00" * 1000 + b"\x87.", "left over"),
    "billion laughs as a key": (P4 + b"}K\x00" + b"q\x01h\x01\x86" * 40 + b"Ns.", "dictionary key"),
    "colliding keys": (P4 + b"}\x8a\x09" + (2**61).to_bytes(9, "little") + b"Ns.", "dictionary key"),
    "one storage parsed 60000 times": (
        P4
        + (b"B" + struct.pack("<I", len(FOUR)) + FOUR + b"\x85q\x01")
        + (stack_global("torch.storage", "_load_from_bytes") + b"q\x02")
        + b"h\x02h\x01R" * 60_000
        + b".",
        "pickle operations",
    ),
    # not a pickle at all
    "empty": (b"", "an empty file"),
    "text": (b"hello, these are weights\n" * 10, "not a format known here"),
    "zeros": (bytes(4096), "not a format known here"),
    "HTML page": (b"<!DOCTYPE html><html>Quota exceeded</html>", "HTML page"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "torch zip": (zipped(), "a zip archive"),
    "safetensors": (struct.pack("<Q", 20) + b'{"a":1             }' + bytes(8), "safetensors file"),
    "garbage after the header": (P4 + bytes(range(128, 256)) * 20, "at byte"),
    "plain list": (pickle.dumps([1, 2], 4), "a list"),
    "plain dict": (pickle.dumps({"a": 1}, 4), "neither 'G_ema' nor 'G'"),
    "no value": (P4 + b".", "not on the stack"),
    "bytes behind the end": (pickle.dumps({"G_ema": None}, 4) + b"PK\x03\x04", "4 bytes follow the end"),
    "bad UTF-8": (P4 + b"X\x02\x00\x00\x00\xff\xfe.", "not UTF-8"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_quickly_and_without_running_anything(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    data, words = CASES[case]
    (tmp_path / "hostile.pkl").write_bytes(data)
    started = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read_official("hostile.pkl")
    assert time.perf_counter() - started < SECONDS
    assert words in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 600
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.pkl"]


@pytest.mark.parametrize("case", [name for name in CASES if " of 2^" in name or "bomb" in name or "laughs" in name])
def test_declared_sizes_allocate_nothing(tmp_path, case):
    path = tmp_path / "hostile.pkl"
    path.write_bytes(CASES[case][0])
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            read_official(path)
        assert tracemalloc.get_traced_memory()[1] < MEGABYTES * 2**20
    finally:
        tracemalloc.stop()


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no file at all"):
        read_official(tmp_path / "absent.pkl")


def test_truncated_anywhere(tmp_path, writer, tiny):
    style = writer.Style()
    data = writer.dumps(writer.official(tiny.state, tiny.init_kwargs, tiny.rendering_kwargs, style), style)
    path = tmp_path / "cut.pkl"
    for tenth in range(1, 10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(CheckpointError, match="left|truncated|cut"):
            read_official(path)


def test_flipped_bytes_never_escape_as_other_errors(tmp_path, writer, tiny):
    """Damage anywhere gives a result or a CheckpointError, never another exception."""
    style = writer.Style(source="pass")
    few = {name: tensor for name, tensor in tiny.state.items() if name.startswith(("torgb", "decoder", "t_mapping"))}
    data = writer.dumps(writer.official(few, tiny.init_kwargs, tiny.rendering_kwargs, style), style)
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "damaged.pkl"
    for _ in range(150):
        damaged = bytearray(data)
        for position in torch.randint(2, len(data), (6,), generator=generator).tolist():
            damaged[position] = int(torch.randint(0, 256, (1,), generator=generator))
        path.write_bytes(damaged)
        try:
            read_official(path)
        except CheckpointError:
            pass
