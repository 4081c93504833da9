"""Weights files: official checkpoints read without executing them, our safetensors format, conversion, means,
the catalog."""

from __future__ import annotations

from .average import average
from .catalog import format_status, read_catalog, resolve, status, weights_folder
from .convert import ConversionReport, convert
from .panohead_pickle import OfficialCheckpoint, read_official
from .store import (
    WeightsFile,
    load_encoder_file,
    load_generator_file,
    load_weights,
    read_entry,
    save_encoder,
    save_generator,
    save_weights,
)

__all__ = [
    "ConversionReport",
    "OfficialCheckpoint",
    "WeightsFile",
    "average",
    "convert",
    "format_status",
    "load_encoder_file",
    "load_generator_file",
    "load_weights",
    "read_catalog",
    "read_entry",
    "read_official",
    "resolve",
    "save_encoder",
    "save_generator",
    "save_weights",
    "status",
    "weights_folder",
]
