"""What the alignment found and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Face:
    """One face of the photo: ``box`` (x0, y0, x1, y1) in photo pixels, ``confidence`` 0..1, ``yaw`` in degrees."""

    box: tuple[float, float, float, float]
    confidence: float
    yaw: float

    @property
    def size(self) -> float:
        """Longer side of the box, px."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class Warning:
    """``code`` for programs, ``message`` for people (what, why, what to do)."""

    code: str
    message: str


@dataclass(frozen=True)
class Report:
    """Result of ``align_portrait``.

    Attributes:
        confidence: 0..1; detection score x mesh presence x goodness of the 3D fit. 0 when the pose was given by hand
            and no face was found.
        yaw, pitch, roll: degrees of the camera, as ``Camera.look_at`` takes them.
        tilt: degrees by which the crop is turned against the photo (clockwise).
        scale: crop pixels per photo pixel; above 1 the photo is enlarged.
        crop: (centre x, centre y, side) of the crop square, photo pixels.
        outside: share of the crop that lies outside the photo, 0..1.
        photo: (width, height) of the upright photo.
        faces: every face found, the default choice first.
        chosen: index into ``faces``; None when the crop was placed by hand.
        warnings: reasons for caution, worst first.
    """

    confidence: float
    yaw: float
    pitch: float
    roll: float
    tilt: float
    scale: float
    crop: tuple[float, float, float]
    outside: float
    photo: tuple[int, int]
    faces: tuple[Face, ...] = ()
    chosen: int | None = None
    warnings: tuple[Warning, ...] = field(default=())

    @property
    def text(self) -> str:
        """A few lines for people."""
        x, y, side = self.crop
        lines = [
            f"photo {self.photo[0]}×{self.photo[1]} px, {len(self.faces)} face(s) found"
            + (f", face {self.chosen} used" if self.chosen is not None else ", crop placed by hand"),
            f"confidence {self.confidence:.2f}",
            f"camera: yaw {self.yaw:+.1f}°, pitch {self.pitch:+.1f}°, roll {self.roll:+.1f}°",
            f"crop: centre ({x:.0f}, {y:.0f}) px, side {side:.0f} px, turned {self.tilt:+.1f}°, "
            f"enlarged ×{self.scale:.2f}",
        ]
        return "\n".join(lines + [f"warning ({w.code}): {w.message}" for w in self.warnings])
