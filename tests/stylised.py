"""Stylised heads: a trained generator of procedural heads, whose truth is known all around, and encoders for it.

They are in the repository, not in what is published. Their z (16 numbers) is the latent of `procedural.sample_heads`.
"""

from __future__ import annotations

from pathlib import Path

import torch

import dualenc_core as dc
from dualenc_core.encoders import HeadEncoder
from dualenc_core.generator import PanoHead

FOLDER = Path(__file__).parent / "fixtures" / "stylised"
GENERATOR, ENCODER_1, ENCODER_2 = (FOLDER / f"{name}.safetensors" for name in ("generator", "encoder1", "encoder2"))


def stylised_generator(device: str | torch.device = "cpu") -> PanoHead:
    """Planes 128², 16 features, pictures of 512 pixels."""
    return dc.load_generator(GENERATOR, device=device)


def stylised_encoders() -> tuple[HeadEncoder, HeadEncoder]:
    """Encoder 1 (fidelity) and Encoder 2 (realism) of `stylised_generator`."""
    return dc.load_encoder(ENCODER_1), dc.load_encoder(ENCODER_2)
