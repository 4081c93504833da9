"""A generator from a name or a file, whatever the file's format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..checkpoints import load_generator_file, read_official, resolve
from ..checkpoints.sniff import file_kind
from ..errors import CheckpointError, DualEncError
from . import PanoHead


def load_generator(
    name_or_path: str | Path = "demo",
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> PanoHead:
    """A generator in eval mode, without gradients.

    Args:
        name_or_path: "demo" (bundled), the id of a catalog entry, a ``.safetensors`` file of ours, or an official
            PanoHead ``.pkl``. The pickle is read by a restricted reader that executes nothing from the file.
        device: where its weights go.
        progress: called with (tensors read, tensors in all) for a pickle.

    Raises CheckpointError for a missing, broken, hostile or foreign file, and for weights that do not fit the file's
    own configuration.

    Example:
        >>> import dualenc_core as dc
        >>> generator = dc.load_generator("demo")
        >>> head = generator.synthesize(generator.mapping(generator.latents(seed=0)))
        >>> len(head)
        1
        >>> dc.load_generator("nobody.safetensors")
        Traceback (most recent call last):
            ...
        dualenc_core.errors.CheckpointError: ...nobody.safetensors...
    """
    path = resolve("generator", name_or_path)
    provenance: dict[str, Any] = {}
    if file_kind(path) == "pickle":
        official = read_official(path, progress)
        state_dict, config = official.state_dict, official.config
    else:
        state_dict, config, provenance = load_generator_file(path)
    try:
        generator = PanoHead.from_config(
            config["init_kwargs"], config["rendering_kwargs"], state_dict, config["neural_rendering_resolution"]
        )
    except DualEncError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} has a configuration that no generator can be built from ({type(error).__name__}: {error}); "
            "download or convert the file again"
        ) from error
    generator.provenance = provenance
    return generator.to(device)
