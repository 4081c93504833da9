"""PanoHead: the tri-grid 3D GAN, with the state-dict keys of the official files."""

from .config import GeneratorConfig, SuperResolutionConfig
from .panohead import PanoHead

__all__ = ["GeneratorConfig", "PanoHead", "SuperResolutionConfig"]
