"""Folders of photos: cropping and inverting them, camera labels, pose rebalancing, batches for training."""

from .folder import Example, ImageFolder
from .invert import InvertSettings, invert_folder
from .labels import read_labels, write_labels
from .prepare import PrepareSettings, prepare_folder
from .rebalance import camera_density, copies_by_density, pose_angles

__all__ = [
    "Example",
    "ImageFolder",
    "InvertSettings",
    "PrepareSettings",
    "camera_density",
    "copies_by_density",
    "invert_folder",
    "pose_angles",
    "prepare_folder",
    "read_labels",
    "write_labels",
]
