"""Photos as training and evaluation data: folders with camera labels, pose rebalancing, cropping whole folders."""

from .folder import Example, ImageFolder
from .labels import read_labels, write_labels
from .prepare import PrepareSettings, prepare_folder
from .rebalance import camera_density, copies_by_density, pose_angles

__all__ = [
    "Example",
    "ImageFolder",
    "PrepareSettings",
    "camera_density",
    "copies_by_density",
    "pose_angles",
    "prepare_folder",
    "read_labels",
    "write_labels",
]
