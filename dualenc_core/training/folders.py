"""Prepared image folders as training data."""

from __future__ import annotations

from torch.utils.data import Dataset

from ..errors import DualEncError
from .config import DataConfig


def open_folder(config: DataConfig) -> Dataset:
    raise DualEncError("not yet")
