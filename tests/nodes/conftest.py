"""Nodes without ComfyUI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def own_folder(tmp_path_factory) -> Iterator[None]:
    """Without ComfyUI the folders input, output and temp are in the current one: not in that of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("comfyui"))
        yield


class Runner:
    """Calls a node by its id with its own defaults, as ComfyUI would."""

    def __init__(self, pack: ModuleType) -> None:
        self.classes = pack.NODE_CLASS_MAPPINGS

    def __call__(self, name: str, **given: Any) -> tuple:
        answer = self.full(name, **given)
        return answer["result"] if isinstance(answer, dict) else answer

    def full(self, name: str, **given: Any) -> Any:
        """The answer itself, with ``ui``."""
        cls = self.classes[name]
        arguments = {}
        for key, (kind, options) in cls.INPUT_TYPES()["required"].items():
            if key not in given:
                arguments[key] = options.get("default", kind[0] if isinstance(kind, list) else None)
        with torch.inference_mode():
            return getattr(cls(), cls.FUNCTION)(**arguments, **given)


@pytest.fixture(scope="session")
def node(pack) -> Runner:
    return Runner(pack)


@pytest.fixture(scope="session")
def dc(pack) -> ModuleType:
    """The library as the pack sees it."""
    return sys.modules[pack.__name__ + ".dualenc_core"]


@pytest.fixture(scope="session")
def generator(node) -> Any:
    return node("DualEncLoadPanoHead")[0]


@pytest.fixture(scope="session")
def encoder(node) -> Any:
    return node("DualEncLoadEncoder")[0]


@pytest.fixture(scope="session")
def head(node, generator) -> Any:
    return node("DualEncSample", generator=generator, seed=3)[0]


@pytest.fixture(scope="session")
def photo(dc) -> torch.Tensor:
    """IMAGE [1,256,256,3] of a procedural head, and where it was taken from."""
    camera = dc.Camera.look_at(10.0)
    view = dc.procedural.render(dc.procedural.sample_heads(1, 1_000_003), camera, 256)
    return (view.image.movedim(1, -1) + 1) / 2
