"""Saved heads that are cut, mixed up or made by others, through loading, rendering and the node."""

from __future__ import annotations

import importlib.util
import json
import random
import struct
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load, save

from dualenc_core.camera import Camera
from dualenc_core.generator import PanoHead
from dualenc_core.generator.loading import load_generator
from dualenc_core.inversion import visibility
from dualenc_core.point_weight import LabelVolume
from dualenc_core.triplane import Overlay, Triplane
from tests.small import write_networks

from .trial import Trial

COUNT = 2_000
ROOT = Path(__file__).resolve().parents[2]
VALUES = (None, 0, -1, 3, 7, 1 << 40, 10**400, 1.5, "", "3", True, [], {}, [1], float("nan"), "\ud800", "x" * 5000)
SHAPES = (
    (), (0,), (1,), (3, 4), (1, 3, 12, 16, 16), (2, 3, 12, 16, 16), (0, 3, 12, 16, 16), (1, 3, 12, 16, 8), (1, 25),
    (1, 3, 13, 16, 16), (1, 4, 12, 16, 16), (1, 3, 12, 0, 0), (1, 1, 16), (1, 6, 16), (1, 0, 16), (2, 6, 16),
    (1, 1, 8, 8),
)  # fmt: skip
DTYPES = (torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool, torch.float8_e4m3fn)
NUMBERS = (float("nan"), float("inf"), 1e38, -1e38, 1e-45, 0.0)


def trials(count: int, seed: int, folder: Path) -> Iterator[Trial]:
    """``count`` trials, in turn over what is broken; the heads are plain, with visibility and with a volume."""
    generator = _generator(folder)
    heads = _heads(generator)
    load_node = _pack(folder).NODE_CLASS_MAPPINGS["DualEncLoadTriplane"]
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        kind = list(BREAKERS)[number % len(BREAKERS)]
        content = BREAKERS[kind](rng, heads[number // len(BREAKERS) % len(heads)])
        yield Trial(kind, partial(_try, content, folder, generator, load_node), partial(bytes, content), "safetensors")


def _try(content: bytes, folder: Path, generator: PanoHead, load_node: type) -> None:
    path = folder / "input" / "head.safetensors"
    path.write_bytes(content)
    assert load_node.VALIDATE_INPUTS("head.safetensors") is True
    by_node = _by_node(load_node)
    head = Triplane.load(path)
    assert by_node is not None, "the node refuses what the library takes"
    assert torch.equal(by_node.planes, head.planes)
    assert head.planes.dtype == head.ws.dtype == torch.float32 and len(head) > 0
    assert type(head.depth) is int and isinstance(head.generator, str) and isinstance(head.meta, dict)
    again = Triplane.load(head.save(folder / "again.safetensors"))
    assert torch.equal(again.planes, head.planes) and again.meta == head.meta
    assert len(again.overlays) == len(head.overlays)
    with torch.no_grad():
        view = generator.render(head[0], Camera.look_at(30.0), 8, quality="exact")
    assert view.image.shape == (1, 3, 32, 32)


def _by_node(load_node: type) -> Any:
    """What the node loads, None when it refuses; the pack has a copy of the library, and its errors are copies too."""
    try:
        return load_node().run("head.safetensors")[0]
    except ValueError as error:
        if "DualEncError" not in {cls.__name__ for cls in type(error).__mro__}:
            raise
        return None


@cache
def _generator(folder: Path) -> PanoHead:
    (folder / "input").mkdir()
    (folder / "output").mkdir()
    return load_generator(str(write_networks(folder)["generator"]))


@cache
def _pack(folder: Path) -> ModuleType:
    """The nodes, with ComfyUI's folders in ``folder``."""
    name = "dualenc_pack_of_fuzz"
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    sys.modules[f"{name}.nodes.runtime"].place = lambda kind: folder / kind
    return module


def _heads(generator: PanoHead) -> list[bytes]:
    with torch.no_grad():
        plain = generator.synthesize(generator.mapping(generator.latents(3), truncation_psi=0.7))
        seen = visibility(generator, plain, Camera.look_at(10.0), resolution=8)
    volume = LabelVolume(torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0)))
    other = plain.planes.flip(-1)
    weights = (None, seen, volume)
    heads = [plain if w is None else plain.replace(overlays=(Overlay(other, w),)) for w in weights]
    return [_saved(head.replace(meta={"note": "é"})) for head in heads]


def _saved(head: Triplane) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return head.save(Path(folder, "head")).read_bytes()


# ------------------------------------------------------------------------------------------------------------ breaking


def _parts(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors, and the header that is ours."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return load(content), json.loads(header["__metadata__"]["dualenc"])


def _joined(tensors: dict[str, torch.Tensor], header: Any, text: str | None = None) -> bytes:
    entry = json.dumps(header) if text is None else text
    return save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, {"dualenc": entry})


def _tensor(change: Callable[[random.Random, torch.Tensor], torch.Tensor]) -> Callable[[random.Random, bytes], bytes]:
    """Breaks one tensor."""

    def broken(rng: random.Random, content: bytes) -> bytes:
        tensors, header = _parts(content)
        name = rng.choice(sorted(tensors))
        tensors[name] = change(rng, tensors[name])
        return _joined(tensors, header)

    return broken


def _valued(rng: random.Random, tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[rng.randrange(tensor.numel())] = rng.choice(NUMBERS)
    return tensor


def _header(rng: random.Random, content: bytes) -> bytes:
    tensors, header = _parts(content)
    places = [header, *header["overlays"], *(overlay["numbers"] for overlay in header["overlays"])]
    place = rng.choice(places)
    key = rng.choice([*place, "more"])
    if rng.random() < 0.3:
        place.pop(key, None)
    else:
        place[key] = rng.choice((*VALUES, *place.values()))
    return _joined(tensors, header)


def _overlays(rng: random.Random, content: bytes) -> bytes:
    tensors, header = _parts(content)
    entries = header["overlays"] or [{"kind": rng.choice(("visibility", "label_volume", "other")), "numbers": {}}]
    header["overlays"] = rng.choice((entries * 2, entries[:0], {"0": entries[0]}, entries[0], [entries], None, 2))
    return _joined(tensors, header)


def _names(rng: random.Random, content: bytes) -> bytes:
    tensors, header = _parts(content)
    names = sorted(tensors)
    one, other = rng.choice(names), rng.choice(names)
    tensors[rng.choice((other, "more", "overlay0.weight.more", "planes"))] = tensors.pop(one)
    return _joined(tensors, header)


def _text(rng: random.Random, content: bytes) -> bytes:
    texts = (
        "",
        "{",
        "[]",
        "null",
        "3",
        '"x"',
        "[" * 100_000,
        '{"format": "dualenc-triplane/1"}',
        "{" + '"a":{' * 50_000,
    )
    return _joined(_parts(content)[0], None, rng.choice(texts))


def _safetensors_header(rng: random.Random, content: bytes) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    choices = (0, 1, length - 1, length + 1, len(content), 1 << 40, (1 << 64) - 1)
    if rng.random() < 0.5:
        return struct.pack("<Q", rng.choice(choices)) + content[8:]
    header = bytearray(content[8 : 8 + length])
    for _ in range(rng.randint(1, 4)):
        header[rng.randrange(length)] = rng.choice(b'0123456789[]{}",:FIU\x00\xff')
    return content[:8] + bytes(header) + content[8 + length :]


def _bytes(rng: random.Random, content: bytes) -> bytes:
    broken = bytearray(content)
    for _ in range(rng.randint(1, 64)):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken)


def _others(rng: random.Random, content: bytes) -> bytes:
    tensors, header = _parts(content)
    foreign = save(dict(list(tensors.items())[:1]), rng.choice((None, {"format": "pt"}, {"dualenc": "{}"})))
    mask = _joined({"mask": torch.rand(1, 3, 3, 16, 16)}, {"format": "dualenc-mask/1", "meta": {}})
    other = _joined(tensors, header | {"generator": "0123456789abcdef"})
    return rng.choice((foreign, mask, other, b"", b"PK\x03\x04" + content, b"<html>", content + b"more", b"\0" * 64))


BREAKERS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "whole": lambda rng, content: content,
    "cut": lambda rng, content: content[: rng.randrange(len(content))],
    "bytes": _bytes,
    "safetensors header": _safetensors_header,
    "our header": _header,
    "its text": _text,
    "overlays": _overlays,
    "shape": _tensor(lambda rng, tensor: torch.rand(rng.choice(SHAPES))),
    "type": _tensor(lambda rng, tensor: tensor.to(rng.choice(DTYPES))),
    "complex": _tensor(lambda rng, tensor: tensor.to(torch.complex64)),
    "value": _tensor(_valued),
    "scale": _tensor(lambda rng, tensor: tensor * rng.choice((0, -1, 1e6, 1e30, 1e-30))),
    "names": _names,
    "other files": _others,
    "spliced": lambda rng, content: content[: rng.randrange(len(content))] + content[rng.randrange(len(content)) :],
    "noise": lambda rng, content: rng.randbytes(rng.randrange(1, 4000)),
}
