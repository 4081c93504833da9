"""Camera batches in PanoHead's convention.

World: +y up, +z out of the face, +x to the viewer's right when looking from the front. Camera: OpenCV axes (x right,
y down, z forward), so the columns of ``cam2world`` are right, down, forward and position. Intrinsics are normalised by
the image size (panohead.md §5.1-5.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import DualEncError

DEFAULT_FOCAL = 4.2647
DEFAULT_RADIUS = 2.7
# One world unit of PanoHead's frame (panohead.md §10).
METRES_PER_UNIT = 0.4177

# S·M·S with S = diag(-1, 1, 1, 1) flips the sign of these entries of a row-major cam2world (panohead.md §10.1).
_MIRROR_SIGN = torch.tensor([[1.0, -1, -1, -1], [-1, 1, 1, 1], [-1, 1, 1, 1], [1, 1, 1, 1]])

Angles = float | Sequence[float] | Tensor


@dataclass(frozen=True)
class Camera:
    """A batch of N pinhole cameras.

    Attributes:
        cam2world: [N,4,4] float32.
        intrinsics: [N,3,3] float32, ``[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]`` in units of the image side.

    Example:
        >>> from dualenc_core import Camera
        >>> front = Camera.look_at()
        >>> front.position[0].round(decimals=2)
        tensor([0.0000, 0.0000, 2.7000])
        >>> len(Camera.cat([front, Camera.orbit(8)])[1:])
        8
    """

    cam2world: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        if self.cam2world.ndim != 3 or self.cam2world.shape[1:] != (4, 4):
            raise DualEncError(f"cam2world has shape {tuple(self.cam2world.shape)}, expected [N,4,4]")
        if self.intrinsics.shape != (len(self.cam2world), 3, 3):
            raise DualEncError(
                f"intrinsics has shape {tuple(self.intrinsics.shape)}, expected [{len(self.cam2world)},3,3] "
                "to match cam2world"
            )

    # ------------------------------------------------------------------------------------------------ construction

    @classmethod
    def look_at(
        cls,
        yaw: Angles = 0.0,
        pitch: Angles = 0.0,
        roll: Angles = 0.0,
        radius: Angles = DEFAULT_RADIUS,
        fov: Angles | None = None,
        pivot: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> Camera:
        """Cameras on a sphere around the world origin, looking at ``pivot``.

        Args:
            yaw: degrees; 0 = front, positive = camera towards +x (the viewer's right).
            pitch: true elevation in degrees; positive = camera above.
            roll: degrees around the viewing direction; positive = the camera turns clockwise, seen from behind it.
            radius: distance from the world origin.
            fov: full field of view across the image in degrees; None = focal length 4.2647 (13.374°).
            pivot: the point that the camera looks at; it does not move the camera.

        All may be numbers or sequences of N; numbers are repeated. Raises DualEncError for lengths that do not
        match, radius <= 0, or fov outside (0, 180).

        Example:
            >>> from dualenc_core import Camera
            >>> right, above = Camera.look_at(yaw=[90, 0], pitch=[0, 90]).position.round().abs()
            >>> right.tolist(), above.tolist()
            ([3.0, 0.0, 0.0], [0.0, 3.0, 0.0])
        """
        values = {"yaw": yaw, "pitch": pitch, "roll": roll, "radius": radius}
        if fov is not None:
            values["fov"] = fov
        angles = _broadcast(values)
        if (angles["radius"] <= 0).any():
            raise DualEncError(f"radius is {angles['radius'].min():g}, expected a positive distance (2.7 is usual)")
        h, p, r = (torch.deg2rad(angles[name]) for name in ("yaw", "pitch", "roll"))
        direction = torch.stack([h.sin() * p.cos(), p.sin(), h.cos() * p.cos()], dim=-1)
        position = direction * angles["radius"][:, None]
        forward = torch.nn.functional.normalize(torch.tensor(pivot, dtype=position.dtype) - position, dim=-1)
        right = torch.linalg.cross(forward, _UP.to(forward).expand_as(forward))
        # Straight above or below the cross product vanishes; yaw still says where right is.
        fallback = torch.stack([h.cos(), torch.zeros_like(h), -h.sin()], dim=-1)
        right = torch.where(right.norm(dim=-1, keepdim=True) > 1e-6, right, fallback)
        rotation = _frame(right, forward)
        c, s, zero, one = r.cos(), r.sin(), torch.zeros_like(r), torch.ones_like(r)
        spin = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).view(-1, 3, 3)
        intrinsics = intrinsics_from_fov(angles["fov"]) if fov is not None else default_intrinsics(len(h))
        return cls(_rigid(rotation @ spin, position).float(), intrinsics.float())

    @classmethod
    def orbit(
        cls,
        frames: int,
        start: float = 0.0,
        end: float = 360.0,
        pitch: Angles = 0.0,
        radius: float = DEFAULT_RADIUS,
        fov: float | None = None,
    ) -> Camera:
        """``frames`` cameras from yaw ``start`` to ``end`` in degrees.

        A full turn (end - start a multiple of 360) leaves the last frame out, so that a loop does not stutter.

        Example:
            >>> from dualenc_core import Camera
            >>> yaw, pitch = Camera.orbit(4).angles
            >>> yaw.round().int().tolist()
            [0, 90, 180, -90]
            >>> len(Camera.orbit(5, -30, 30))
            5
        """
        if frames < 1:
            raise DualEncError(f"frames is {frames}, expected at least 1")
        full_turn = frames > 1 and end != start and math.isclose((end - start) % 360.0, 0.0, abs_tol=1e-6)
        steps = frames if full_turn else max(frames - 1, 1)
        yaw = [start + (end - start) * i / steps for i in range(frames)]
        return cls.look_at(yaw=yaw, pitch=pitch, radius=radius, fov=fov)

    @classmethod
    def swing(
        cls,
        frames: int,
        start: float = -45.0,
        end: float = 45.0,
        pitch: Angles = 0.0,
        radius: float = DEFAULT_RADIUS,
        fov: float | None = None,
    ) -> Camera:
        """``frames`` cameras from yaw ``start`` to ``end`` in degrees and back, slow at the turns; a seamless loop.

        Example:
            >>> from dualenc_core import Camera
            >>> Camera.swing(4, -45, 45).angles[0].round().int().tolist()
            [-45, 0, 45, 0]
        """
        if frames < 1:
            raise DualEncError(f"frames is {frames}, expected at least 1")
        middle, half = (start + end) / 2, (end - start) / 2
        yaw = [middle - half * math.cos(2 * math.pi * i / frames) for i in range(frames)]
        return cls.look_at(yaw=yaw, pitch=pitch, radius=radius, fov=fov)

    @classmethod
    def from_label(cls, label: Tensor | Sequence[float]) -> Camera:
        """From EG3D/PanoHead labels [N,25] or [25]: row-major cam2world, then row-major intrinsics.

        Example:
            >>> from dualenc_core import Camera
            >>> camera = Camera.look_at(yaw=20)
            >>> Camera.from_label(camera.label[0].tolist()).cam2world.allclose(camera.cam2world)
            True
        """
        label = torch.as_tensor(label, dtype=torch.float32)
        label = label[None] if label.ndim == 1 else label
        if label.ndim != 2 or label.shape[1] != 25:
            raise DualEncError(f"camera label has shape {tuple(label.shape)}, expected [N,25] (16 cam2world + 9 K)")
        return cls(label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3))

    @classmethod
    def from_panohead_angles(
        cls,
        h: Angles,
        v: Angles,
        pivot: Sequence[float] = (0.0, 0.0, 0.0),
        radius: Angles = DEFAULT_RADIUS,
        intrinsics: Tensor | None = None,
    ) -> Camera:
        """PanoHead's look-at sampler, for parity with its scripts and labels (panohead.md §5.4).

        ``h`` (radians) is pi/2 at the front. ``v`` (radians, pi/2 = horizon) is *not* an elevation: the height is
        ``radius·(1 - 2v/pi)``. Near the poles float32 limits the accuracy to about 1e-3.
        """
        angles = _broadcast({"h": h, "v": v, "radius": radius})
        v = angles["v"].clamp(1e-5, math.pi - 1e-5)
        phi = torch.arccos(1 - 2 * v / math.pi)
        h = angles["h"]
        direction = torch.stack([-phi.sin() * h.cos(), phi.cos(), phi.sin() * h.sin()], dim=-1)
        position = direction * angles["radius"][:, None]
        forward = torch.nn.functional.normalize(torch.tensor(pivot, dtype=position.dtype) - position, dim=-1)
        rotation = _frame(torch.linalg.cross(forward, _UP.to(forward).expand_as(forward)), forward)
        if intrinsics is None:
            intrinsics = default_intrinsics(len(h))
        return cls(_rigid(rotation, position).float(), intrinsics.expand(len(h), 3, 3).float())

    @classmethod
    def from_load3d(cls, info: Mapping, radius: float | None = DEFAULT_RADIUS, fov: float | None = None) -> Camera:
        """From ComfyUI's LOAD3D_CAMERA dictionary (right-handed, +y up, the camera looks down its own -z).

        Args:
            info: ``position`` and ``target`` ({x,y,z}), optional ``zoom`` (scales the focal length) and
                ``quaternion`` ({x,y,z,w}; keeps a roll).
            radius: distance at which our camera stands; the viewer's own distance depends on the loaded model's
                size, so only its direction is taken. None = the viewer's distance.
            fov: degrees, None = PanoHead's focal length.

        What `to_load3d` made comes back as it was, whatever radius and fov say: ``metres_per_unit`` tells it. An
        orthographic camera is taken for a perspective one; see `is_orthographic`.

        Raises DualEncError when position or target are missing or coincide.

        Example:
            >>> from dualenc_core import Camera
            >>> info = {"position": {"x": 0, "y": 0, "z": 7}, "target": {"x": 0, "y": 0, "z": 0}}
            >>> Camera.from_load3d(info).position[0].round(decimals=2)
            tensor([0.0000, 0.0000, 2.7000])
        """
        try:
            position, target = (
                torch.tensor([float(info[name][axis]) for axis in "xyz"], dtype=torch.float64)
                for name in ("position", "target")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DualEncError(
                f"LOAD3D_CAMERA is {info!r}; expected a dictionary with position and target, each with x, y, z"
            ) from error
        offset = position - target
        distance = float(offset.norm())
        if not distance > 1e-9:
            raise DualEncError(f"LOAD3D_CAMERA position and target are the same point {position.tolist()}; move one")
        if info.get("metres_per_unit") and info.get("quaternion") and info.get("fov"):
            rotation = _quaternion_matrix(info["quaternion"]) @ _FLIP
            position = position / float(info["metres_per_unit"])
            lens = intrinsics_from_fov(torch.tensor([float(info["fov"])], dtype=torch.float64))
            camera = cls(_rigid(rotation[None], position[None]).float(), lens.float())
            return camera.zoomed(float(info.get("zoom") or 1.0))
        x, y, z = (offset / distance).tolist()
        yaw, pitch = math.degrees(math.atan2(x, z)), math.degrees(math.asin(max(-1.0, min(1.0, y))))
        radius = distance if radius is None else radius
        camera = cls.look_at(yaw, pitch, radius=radius, fov=fov)
        if info.get("quaternion"):
            rotation = _quaternion_matrix(info["quaternion"]) @ _FLIP
            camera = cls(_rigid(rotation[None], -radius * rotation[None, :, 2]).float(), camera.intrinsics)
        return camera.zoomed(float(info.get("zoom") or 1.0))

    def to_load3d(self) -> list[dict]:
        """ComfyUI's LOAD3D_CAMERA dictionaries, one for each camera; `from_load3d` gives the camera back.

        Lengths are in metres, as in meshes and splats of ours, so that the viewer's picture of them is that of
        `PanoHead.render`. ``target`` is the point of the line of sight nearest to the middle of the head; ``fov`` is in
        vertical degrees.

        Raises DualEncError for what such a dictionary cannot say: a principal point beside the middle, skew, or
        pixels that are not square.
        """
        infos = []
        for cam2world, k in zip(self.cam2world.double().cpu(), self.intrinsics.double().cpu(), strict=True):
            focal = float(k[1, 1])
            expected = torch.tensor([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
            if not torch.allclose(k, expected, atol=1e-5):
                raise DualEncError(
                    f"intrinsics are {k.tolist()}; LOAD3D_CAMERA can only say square pixels and a principal point at ½"
                )
            rotation, position = cam2world[:3, :3], cam2world[:3, 3]
            forward = rotation[:, 2]
            target = position - forward * (position @ forward)
            infos.append(
                {
                    "position": _xyz(position * METRES_PER_UNIT),
                    "target": _xyz(target * METRES_PER_UNIT),
                    "quaternion": _quaternion(rotation @ _FLIP),
                    # Newer ComfyUI takes a roll from the quaternion only then.
                    "useCustomUp": abs(float(rotation[1, 0])) > 1e-5 or float(rotation[1, 1]) > 1e-5,
                    "zoom": 1.0,
                    "cameraType": "perspective",
                    "fov": math.degrees(2 * math.atan(0.5 / focal)),
                    "aspect": 1.0,
                    "near": 0.01,
                    "far": 100.0,
                    "metres_per_unit": METRES_PER_UNIT,
                }
            )
        return infos

    @classmethod
    def cat(cls, cameras: Sequence[Camera]) -> Camera:
        """Concatenate batches."""
        return cls(torch.cat([c.cam2world for c in cameras]), torch.cat([c.intrinsics for c in cameras]))

    # ------------------------------------------------------------------------------------------------------- views

    def __len__(self) -> int:
        return len(self.cam2world)

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        """A sub-batch; an integer keeps the batch dimension (N = 1)."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"camera {index} of {len(self)}")
            index = slice(index, index + 1 or None)
        return Camera(self.cam2world[index], self.intrinsics[index])

    def to(self, *args: Any, **kwargs: Any) -> Camera:
        """Move or cast both tensors, as ``Tensor.to``."""
        return Camera(self.cam2world.to(*args, **kwargs), self.intrinsics.to(*args, **kwargs))

    def expand(self, count: int) -> Camera:
        """One camera repeated ``count`` times; a batch of ``count`` unchanged; otherwise DualEncError."""
        if len(self) == count:
            return self
        if len(self) != 1:
            raise DualEncError(f"camera batch is {len(self)}, expected 1 or {count}")
        return Camera(self.cam2world.expand(count, 4, 4), self.intrinsics.expand(count, 3, 3))

    @property
    def position(self) -> Tensor:
        """[N,3] in world units."""
        return self.cam2world[:, :3, 3]

    @property
    def label(self) -> Tensor:
        """[N,25] EG3D/PanoHead label."""
        return torch.cat([self.cam2world.reshape(-1, 16), self.intrinsics.reshape(-1, 9)], dim=1)

    @property
    def mirrored(self) -> Camera:
        """The cameras of left-right flipped images (encoders.md §6.1); twice is the identity.

        Example:
            >>> from dualenc_core import Camera
            >>> Camera.look_at(yaw=30).mirrored.angles[0].round()
            tensor([-30.])
        """
        intrinsics = self.intrinsics.clone()
        intrinsics[:, 0, 2] = 1 - intrinsics[:, 0, 2]
        intrinsics[:, 0, 1] = -intrinsics[:, 0, 1]
        return Camera(self.cam2world * _MIRROR_SIGN.to(self.cam2world), intrinsics)

    @property
    def angles(self) -> tuple[Tensor, Tensor]:
        """Yaw and pitch [N] in degrees of the camera's position, seen from the world origin."""
        x, y, z = self.position.double().unbind(-1)
        yaw = torch.rad2deg(torch.atan2(x, z))
        return yaw.float(), torch.rad2deg(torch.atan2(y, (x * x + z * z).sqrt())).float()

    def zoomed(self, factor: float) -> Camera:
        """The same cameras with the focal length times ``factor`` (> 0)."""
        if not factor > 0:
            raise DualEncError(f"zoom is {factor}, expected a positive factor (1 = unchanged)")
        intrinsics = self.intrinsics.clone()
        intrinsics[:, :2, :2] *= factor
        return Camera(self.cam2world, intrinsics)

    def translated(self, offset: Tensor) -> Camera:
        """The same cameras moved by ``offset`` [N,3] or [3] in world units."""
        cam2world = self.cam2world.clone()
        cam2world[:, :3, 3] += offset
        return Camera(cam2world, self.intrinsics)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """World points [N,M,3] → pixel coordinates [N,M,2] (u, v in 0..1 inside the image) and z-depth [N,M].

        Example:
            >>> import torch
            >>> from dualenc_core import Camera
            >>> uv, depth = Camera.look_at().project(torch.zeros(1, 1, 3))  # the world's origin
            >>> uv[0, 0].tolist(), round(depth.item(), 2)
            ([0.5, 0.5], 2.7)
        """
        local = (points - self.position[:, None]) @ self.cam2world[:, :3, :3]
        z = local[..., 2]
        uvw = local / torch.where(z.abs() < 1e-8, torch.full_like(z, 1e-8), z)[..., None]
        return (uvw @ self.intrinsics.transpose(1, 2))[..., :2], z


_UP = torch.tensor([0.0, 1.0, 0.0])
# Axes of viewers (y up, z back) ↔ OpenCV's (y down, z forward).
_FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


def default_intrinsics(count: int) -> Tensor:
    """PanoHead's intrinsics [count,3,3]: focal 4.2647, principal point ½."""
    k = torch.tensor([[DEFAULT_FOCAL, 0.0, 0.5], [0.0, DEFAULT_FOCAL, 0.5], [0.0, 0.0, 1.0]])
    return k.expand(count, 3, 3).clone()


def intrinsics_from_fov(fov: Tensor) -> Tensor:
    """Full field of view across the image [N] in degrees → intrinsics [N,3,3]."""
    if ((fov <= 0) | (fov >= 180)).any():
        raise DualEncError(f"fov is {fov.tolist()}, expected degrees between 0 and 180 (PanoHead's is 13.374)")
    k = default_intrinsics(len(fov)).to(fov)
    k[:, 0, 0] = k[:, 1, 1] = 0.5 / torch.tan(torch.deg2rad(fov) / 2)
    return k


def panohead_fov_intrinsics(fov: float) -> Tensor:
    """[1,3,3] as PanoHead's scripts derive them: ``fov`` is the *diagonal* field of view (panohead.md §5.5)."""
    k = default_intrinsics(1)
    k[:, 0, 0] = k[:, 1, 1] = 1 / (math.tan(fov * 3.14159 / 360) * 1.414)
    return k


def _broadcast(values: dict[str, Angles]) -> dict[str, Tensor]:
    tensors = {name: torch.as_tensor(value, dtype=torch.float64).reshape(-1) for name, value in values.items()}
    count = max(len(t) for t in tensors.values())
    for name, tensor in tensors.items():
        if len(tensor) not in (1, count):
            raise DualEncError(f"{name} has {len(tensor)} values, expected 1 or {count}")
        if not torch.isfinite(tensor).all():
            raise DualEncError(f"{name} is {tensor.tolist()}, expected finite numbers")
    return {name: tensor.expand(count) for name, tensor in tensors.items()}


def _frame(right: Tensor, forward: Tensor) -> Tensor:
    right = right / right.norm(dim=-1, keepdim=True)
    down = torch.linalg.cross(forward, right)
    return torch.stack([right, down / down.norm(dim=-1, keepdim=True), forward], dim=-1)


def _rigid(rotation: Tensor, position: Tensor) -> Tensor:
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(rotation).expand(len(rotation), 1, 4)
    return torch.cat([torch.cat([rotation, position[..., None]], dim=-1), bottom], dim=1)


def is_orthographic(info: Mapping) -> bool:
    """Whether a LOAD3D_CAMERA dictionary asks for parallel rays, which generators cannot draw."""
    return str(info.get("cameraType", "")).lower().startswith("ortho")


def _xyz(values: Tensor) -> dict[str, float]:
    return dict(zip("xyz", values.tolist(), strict=True))


def _quaternion(rotation: Tensor) -> dict[str, float]:
    """Rotation [3,3] → unit quaternion x, y, z, w; through the largest component, so that none is lost."""
    m = rotation.tolist()
    trace = m[0][0] + m[1][1] + m[2][2]
    squares = [1 + 2 * m[i][i] - trace for i in range(3)] + [1 + trace]
    largest = max(range(4), key=squares.__getitem__)
    if largest == 3:
        q = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], squares[3]]
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q = [0.0] * 4
        q[i], q[j], q[k], q[3] = squares[i], m[j][i] + m[i][j], m[k][i] + m[i][k], m[k][j] - m[j][k]
    norm = math.sqrt(sum(value * value for value in q))
    return dict(zip("xyzw", (value / norm for value in q), strict=True))


def _quaternion_matrix(q: Mapping) -> Tensor:
    try:
        x, y, z, w = (float(q[axis]) for axis in "xyzw")
    except (KeyError, TypeError, ValueError) as error:
        raise DualEncError(f"LOAD3D_CAMERA quaternion is {q!r}; expected x, y, z, w") from error
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    if norm < 1e-9:
        raise DualEncError(f"LOAD3D_CAMERA quaternion is {q!r}; expected a rotation, not zeros")
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
