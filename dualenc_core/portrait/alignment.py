"""From a face mesh to PanoHead's world: head pose, crop square, camera.

The canonical mesh is placed in the world once (``Calibration``) and fitted to the detected mesh by a similarity
(weak perspective). The rotation is the camera, the image of the world origin is the crop's centre, and the scale says
how many pixels the crop's 0.6331 world units take. The crop turns with the eyes and mouth as PanoHead's does, so the
camera keeps only the roll that is left over (panohead.md §10.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..camera import DEFAULT_FOCAL, DEFAULT_RADIUS, Camera
from .geometry import CROP_SIDE_WORLD, Quad, eyes_mouth_quad, similarity
from .weights import load_face_model

# Six contour points per eye, the counterpart of the 68-point set's 36..41 and 42..47.
_IMAGE_LEFT_EYE = (33, 160, 158, 133, 153, 144)
_IMAGE_RIGHT_EYE = (362, 385, 387, 263, 373, 380)
_MOUTH_CORNERS = (61, 291)


@dataclass(frozen=True)
class Calibration:
    """Where the canonical mesh lies in PanoHead's world: ``world = unit · Rx(-pitch) · canonical + (0, y, z)``.

    Attributes:
        unit: world units per canonical centimetre.
        pitch: degrees by which the network's heads look too far down compared to PanoHead's labels.
        y, z: world position of the canonical origin.
    """

    unit: float
    pitch: float
    y: float
    z: float

    def vertices(self) -> np.ndarray:
        """[468,3] the canonical mesh in world units."""
        placed = load_face_model().vertices @ rotation_x(-self.pitch).T * self.unit
        return placed + [0, self.y, self.z]


# Four numbers, fitted to PanoHead's two published example labels (``measure --calibrate``); z, which nearly frontal
# faces hardly determine, lies between their fit (0.055) and the eye and nose depths of panohead's world frame (0.1).
CALIBRATION = Calibration(unit=0.02337, pitch=1.5, y=-0.031, z=0.075)


@dataclass(frozen=True)
class HeadPose:
    """A head in a photo.

    Attributes:
        rotation: [3,3] world → camera, camera axes x right, y down, z forward, in the photo's frame.
        scale: photo pixels per world unit.
        origin: [2] photo position of the world origin.
        tilt: degrees clockwise by which the crop turns against the photo.
        residual: root mean square distance of the fit, in centimetres of an average head.
    """

    rotation: np.ndarray
    scale: float
    origin: np.ndarray
    tilt: float
    residual: float


def rotation_x(degrees: float) -> np.ndarray:
    """Right-handed rotation around +x."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_z(degrees: float) -> np.ndarray:
    """Right-handed rotation around +z: clockwise in an image with y down."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def head_pose(points: np.ndarray, calibration: Calibration = CALIBRATION) -> HeadPose:
    """Fit the head to a mesh [468,3] in photo pixels (z in the same unit, smaller = nearer)."""
    model = load_face_model()
    vertices = calibration.vertices()
    scale, rotation, translation = similarity(vertices, points, model.basis)
    residual = np.sqrt(((scale * vertices @ rotation.T + translation - points) ** 2).sum(1).mean())
    eyes_mouth = eyes_mouth_quad(
        points[list(_IMAGE_LEFT_EYE), :2].mean(0),
        points[list(_IMAGE_RIGHT_EYE), :2].mean(0),
        points[list(_MOUTH_CORNERS), :2].mean(0),
    )
    return HeadPose(
        rotation=rotation,
        scale=scale,
        origin=translation[:2],
        tilt=math.degrees(math.atan2(eyes_mouth.x[1], eyes_mouth.x[0])),
        residual=float(residual / scale / calibration.unit),
    )


def crop_quad(pose: HeadPose, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Quad:
    """The square that PanoHead expects, in photo pixels.

    Args: ``scale`` multiplies its side; ``shift`` moves it, in its own sides along its own axes (right, down).
    """
    half = CROP_SIDE_WORLD * pose.scale * scale / 2
    x, y = half * rotation_z(pose.tilt)[:2, :2].T
    return Quad(pose.origin + 2 * shift[0] * x + 2 * shift[1] * y, x, y)


def camera_of(rotation: np.ndarray) -> Camera:
    """One label-convention camera (2.7 from the origin, looking at it) from a world → camera rotation."""
    cam2world = np.eye(4)
    cam2world[:3, :3] = rotation.T
    cam2world[:3, 3] = -DEFAULT_RADIUS * rotation[2]
    intrinsics = [DEFAULT_FOCAL, 0, 0.5, 0, DEFAULT_FOCAL, 0.5, 0, 0, 1]
    return Camera.from_label(torch.tensor([*cam2world.ravel(), *intrinsics], dtype=torch.float32))


def crop_camera(pose: HeadPose) -> Camera:
    """The camera in the crop's frame."""
    return camera_of(rotation_z(-pose.tilt) @ pose.rotation)


def camera_angles(camera: Camera) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in degrees of a one-camera batch, as ``Camera.look_at`` takes them."""
    pose = camera.cam2world[0].detach().cpu().double().numpy()
    direction = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    yaw = math.degrees(math.atan2(direction[0], direction[2]))
    pitch = math.degrees(math.asin(np.clip(direction[1], -1, 1)))
    level = Camera.look_at(yaw, pitch).cam2world[0, :3, :3].double().numpy()
    spin = level.T @ pose[:3, :3]
    return yaw, pitch, math.degrees(math.atan2(spin[1, 0], spin[0, 0]))
