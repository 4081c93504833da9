"""Prepared image folders (dataset.json labels, masks) as a training data set."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import DualEncError
from .config import DataConfig


class Folder(Protocol):
    """What is needed of ``dualenc_core.research.data.ImageFolder``.

    Attributes:
        names: of the images.
        copies: how often each counts, [M].
        problems: images that were left out, and why.
    """

    names: list[str]
    copies: Tensor
    problems: dict[str, str]

    def read(self, index: int) -> Any:
        """``image`` [1,3,S,S], ``matte`` [1,1,S,S] or None, ``camera``; None for an image that cannot be used."""


class FolderPortraits(Dataset):
    """Images of a folder, rare poses repeated.

    A broken image is replaced by the next one that can be read, said once on stderr, and kept in ``folder.problems``:
    it never ends a run.

    Args:
        count: only the first images; None = all.
        masks: "require" = an image without a mask is an error; "ignore" = its whole picture counts as head.
    """

    def __init__(self, folder: Folder, count: int | None = None, masks: str = "require") -> None:
        self.folder, self.masks = folder, masks
        numbers = torch.arange(len(folder.names))[:count]
        self.entries = torch.repeat_interleave(numbers, folder.copies[:count])

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        total = len(self.folder.names)
        first = int(self.entries[index])
        for step in range(total):
            number = (first + step) % total
            known = len(self.folder.problems)
            example = self.folder.read(number)
            if example is not None:
                return self._item(example, self.folder.names[number])
            if len(self.folder.problems) > known:
                name = self.folder.names[number]
                print(f"left out {name}: {self.folder.problems[name]}", file=sys.stderr, flush=True)
        name, reason = next(iter(self.folder.problems.items()))
        raise DualEncError(f"no image of the data set can be read; for example {name}: {reason}")

    def _item(self, example: Any, name: str) -> dict[str, Tensor]:
        matte = example.matte
        if matte is None:
            if self.masks == "require":
                raise DualEncError(
                    f"{name} has no mask, without which its background would be inverted too; make masks with "
                    "`prepare`, or set data.masks: ignore"
                )
            matte = torch.ones_like(example.image[:, :1])
        return {"image": example.image[0], "matte": matte[0], "camera": example.camera.label[0]}


def open_folder(config: DataConfig) -> FolderPortraits:
    """The folder of a configuration. Raises DualEncError as ``ImageFolder.open``."""
    from ..data import ImageFolder

    # Mirroring is drawn by the step (`Batches`).
    if config.path is None:
        raise DualEncError("data.path is null; name the folder of pictures")
    folder = ImageFolder.open(config.path, config.size, rebalance=config.rebalance)
    for name, reason in folder.left_out.items():
        print(f"left out {name}: {reason}", file=sys.stderr, flush=True)
    return FolderPortraits(folder, config.count, config.masks)
