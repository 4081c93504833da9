"""Encoders: photo → style vectors → tri-grid (paper Eq. 1)."""

from .arcface import ArcFace, identity_crop
from .config import HeadEncoderConfig, LiftedConfig, StyleConfig, TriPlaneConfig, TrunkConfig
from .head_encoder import EncoderOutput, HeadEncoder
from .lifted_refiner import LiftedRefiner
from .loading import load_arcface, load_encoder
from .spaces import draw_z_plus, latents_to_styles
from .style_encoder import GradualStyleEncoder, SingleStyleEncoder
from .triplane_encoder import TriPlaneEncoder

__all__ = [
    "ArcFace",
    "EncoderOutput",
    "GradualStyleEncoder",
    "HeadEncoder",
    "HeadEncoderConfig",
    "LiftedConfig",
    "LiftedRefiner",
    "SingleStyleEncoder",
    "StyleConfig",
    "TriPlaneConfig",
    "TriPlaneEncoder",
    "TrunkConfig",
    "draw_z_plus",
    "identity_crop",
    "latents_to_styles",
    "load_arcface",
    "load_encoder",
]
