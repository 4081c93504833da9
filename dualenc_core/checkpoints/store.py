"""Our weights files: safetensors whose one metadata entry, ``dualenc``, says what the tensors are.

The entry is a JSON object: ``format`` (``"dualenc/1"``), ``kind``, ``config``, ``provenance``, ``complete``.
It is one entry because safetensors writes several entries in an arbitrary order, and the same weights must give the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import CheckpointError
from ..files import atomic_path
from .sniff import KINDS, file_kind

FORMAT = "dualenc/1"
METADATA_KEY = "dualenc"
FILE_KINDS = ("generator", "encoder", "arcface", "curricularface", "lpips-alexnet")
_GENERATOR_CONFIG = ("init_kwargs", "rendering_kwargs", "neural_rendering_resolution")


@dataclass(frozen=True)
class WeightsFile:
    """Content of one weights file.

    Attributes:
        kind: one of ``FILE_KINDS``.
        state_dict: name → CPU tensor; half precision is widened to float32 on load, unless asked for as it is.
        config: what rebuilds the module.
        provenance: where the weights come from (JSON object).
        complete: False if tensors that the module needs are missing (listed in ``provenance["missing"]``).
    """

    kind: str
    state_dict: dict[str, torch.Tensor]
    config: dict
    provenance: dict
    complete: bool = True


def save_weights(path: str | Path, weights: WeightsFile, half: bool = False) -> None:
    """Write a weights file; nothing is left behind on failure.

    Args:
        path: target, ``.safetensors``.
        weights: finite tensors.
        half: store floating-point tensors as float16 (about 1e-3 relative rounding); integers are kept.

    Raises:
        CheckpointError: unknown kind, no tensors, NaN or infinity, a value beyond float16, a config that is not JSON.
    """
    if weights.kind not in FILE_KINDS:
        raise CheckpointError(f"kind {weights.kind!r} of a weights file is not one of {', '.join(FILE_KINDS)}")
    if weights.kind == "generator":
        _check_generator_config(weights.config, Path(path))
    _check_tensors(weights.state_dict, Path(path))
    entry = {
        "format": FORMAT,
        "kind": weights.kind,
        "config": weights.config,
        "provenance": weights.provenance,
        "complete": weights.complete,
    }
    try:
        text = json.dumps(entry, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config or provenance of {Path(path).name} is not plain JSON: {error}") from error
    tensors = _stored(weights.state_dict, half)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: text})


def load_weights(path: str | Path, kind: str, as_stored: bool = False) -> WeightsFile:
    """Read a weights file.

    Args:
        path: a ``.safetensors`` file of ours.
        kind: the kind that the caller can use.
        as_stored: leave tensors in the types of the file, half precision too.

    Raises:
        CheckpointError: missing, damaged, not ours, of another version or kind, or with NaN or infinity.
    """
    path = Path(path)
    entry = read_entry(path)
    if entry["kind"] != kind:
        raise CheckpointError(f"{path} holds weights of kind {entry['kind']!r}; {kind!r} is expected here")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or cut off ({error}); download or convert it again") from error
    _check_tensors(tensors, path)
    if kind == "generator":
        _check_generator_config(entry["config"], path)
    if not as_stored:
        tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    return WeightsFile(kind, tensors, entry["config"], entry["provenance"], entry["complete"])


def read_entry(path: str | Path) -> dict:
    """The checked metadata of a weights file (``kind``, ``config``, ``provenance``, ``complete``), tensors unread."""
    path = Path(path)
    found = file_kind(path)
    if found in ("pickle", "torch-zip", "torch-legacy"):
        raise CheckpointError(
            f"{path} is {KINDS[found]}; convert it first: "
            f"python -m dualenc_core convert {path} {path.with_suffix('.safetensors')}"
        )
    if found == "missing":
        raise CheckpointError(f"{path} does not exist; `python -m dualenc_core weights` lists the known files")
    if found == "unreadable":
        raise CheckpointError(f"{path} is {KINDS[found]}")
    if found in ("empty", "html", "git-lfs", "gzip"):
        raise CheckpointError(f"{path} is {KINDS[found]}; a safetensors file is expected: download it again")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); download it again, or convert its original again"
        ) from error
    if METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file without the {METADATA_KEY!r} metadata entry, made by another program: the "
            "configuration of the network is unknown and cannot be added. Get the checkpoint that it was made from "
            f"(.pkl, .pt or .pth) and run: python -m dualenc_core convert ORIGINAL {path.stem}-dualenc.safetensors"
        )
    try:
        entry = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the metadata of {path} is not JSON ({error}); convert the file again") from error
    entry = entry if isinstance(entry, dict) else {}
    if entry.get("format") != FORMAT:
        other = {"dualenc-triplane/1": "a saved head", "dualenc-mask/1": "a saved mask"}.get(str(entry.get("format")))
        if other:
            raise CheckpointError(f"{path} is {other}, not weights; choose the file of a network")
        raise CheckpointError(f"{path} has format {entry.get('format')!r}; {FORMAT!r} is read by this version")
    types = {"kind": str, "config": dict, "provenance": dict, "complete": bool}
    for key, kind in types.items():
        if not isinstance(entry.get(key), kind):
            raise CheckpointError(f"the metadata of {path} has no valid {key!r}; convert the file again")
    return entry


def save_generator(
    path: str | Path, state_dict: Mapping[str, torch.Tensor], config: dict, provenance: dict, half: bool = False
) -> None:
    """Write a generator; ``config`` has ``init_kwargs``, ``rendering_kwargs``, ``neural_rendering_resolution``."""
    save_weights(path, WeightsFile("generator", dict(state_dict), config, provenance), half)


def load_generator_file(path: str | Path) -> tuple[dict[str, torch.Tensor], dict, dict]:
    """State dict (float32), config and provenance of a generator file. Errors as in ``load_weights``."""
    weights = load_weights(path, "generator")
    return weights.state_dict, weights.config, weights.provenance


def save_encoder(
    path: str | Path, state_dict: Mapping[str, torch.Tensor], config: dict, provenance: dict, half: bool = False
) -> None:
    """Write a complete two-stage encoder (keys ``stage_one.*``, ``stage_two.*``, ``latent_avg``)."""
    save_weights(path, WeightsFile("encoder", dict(state_dict), config, provenance), half)


def load_encoder_file(path: str | Path, allow_incomplete: bool = False) -> tuple[dict[str, torch.Tensor], dict, dict]:
    """State dict (float32), config and provenance of an encoder file.

    Args:
        path: the file.
        allow_incomplete: accept a converted file that lacks tensors (as a starting point for training).

    Raises:
        CheckpointError: as ``load_weights``, and for an incomplete file unless allowed.
    """
    weights = load_weights(path, "encoder")
    if not weights.complete and not allow_incomplete:
        missing = weights.provenance.get("missing") or ["(not listed)"]
        examples = ", ".join(map(str, missing[:5]))
        raise CheckpointError(
            f"{path} is not a complete encoder: {len(missing)} tensors are missing ({examples}, …). "
            "It can start a training, but it cannot encode a photo"
        )
    return weights.state_dict, weights.config, weights.provenance


def _check_generator_config(config: dict, path: Path) -> None:
    missing = [key for key in _GENERATOR_CONFIG if key not in config]
    if missing:
        raise CheckpointError(f"the generator config of {path} lacks {', '.join(missing)}; convert the file again")


def _check_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors")
    for name, tensor in tensors.items():
        if tensor.is_complex():
            raise CheckpointError(f"{path}: tensor {name} is of type {tensor.dtype}; real numbers are expected")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: tensor {name} contains NaN or infinity; these weights are broken")


def _stored(tensors: Mapping[str, torch.Tensor], half: bool) -> dict[str, torch.Tensor]:
    stored, storages = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        if half and tensor.is_floating_point():
            if tensor.numel() and tensor.abs().max() > torch.finfo(torch.float16).max:
                raise CheckpointError(
                    f"tensor {name} has values beyond float16 (65504); write it without half precision"
                )
            tensor = tensor.half()
        storage = tensor.untyped_storage()
        # The writer refuses tensors that share memory, although the file stores each of them whole.
        if storage.data_ptr() in storages or storage.nbytes() != tensor.nbytes or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        storages.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    return stored
