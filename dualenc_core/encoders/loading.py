"""Encoders and face recognition networks from weights files."""

from __future__ import annotations

from pathlib import Path

import torch

from ..checkpoints import load_encoder_file, load_weights, resolve
from .arcface import IR_101, IR_SE_50, ArcFace
from .head_encoder import HeadEncoder


def load_encoder(name_or_path: str | Path, map_location: str | torch.device = "cpu") -> HeadEncoder:
    """A two-stage encoder in eval mode.

    Args:
        name_or_path: "demo-e1", "demo-e2", the id of a catalog entry, or a ``.safetensors`` file.
        map_location: device.

    Raises CheckpointError for a missing, broken, foreign or incomplete file.

    Example:
        >>> import dualenc_core as dc
        >>> encoder = dc.load_encoder("demo-e1")
        >>> encoder.config.style.n_styles == dc.load_generator("demo").config.num_ws
        True
    """
    path = resolve("encoder", name_or_path)
    state_dict, config, _ = load_encoder_file(path)
    return HeadEncoder.from_config(config, state_dict, name=path.stem).to(map_location)


def load_arcface(
    name_or_path: str | Path = "arcface", kind: str = "arcface", map_location: str | torch.device = "cpu"
) -> ArcFace:
    """ArcFace IR-SE-50 (kind "arcface"), or CurricularFace IR-101 (kind "curricularface"), converted to safetensors.

    Raises CheckpointError for a missing, broken or foreign file.
    """
    weights = load_weights(resolve(kind, name_or_path), kind)
    curricular = kind == "curricularface"
    network = ArcFace.from_state(weights.state_dict, IR_101 if curricular else IR_SE_50, affine=not curricular)
    return network.to(map_location)
