"""What photographs do to a person: wrong mattes, spilt backgrounds, light and colour, grain, blur, things in front.

Encoders must see it in training, or they paint it onto the head. Only their input is spoiled: the target stays the
clean person, but for the `Tone` of the whole picture, which belongs to the photo and not to an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import require
from .vectors import smoothstep

_GREY = np.array([0.3, 0.59, 0.11], np.float32)


@dataclass(frozen=True)
class Tone:
    """Colours of a whole picture: sRGB x → gain · x^gamma + lift, some of it grey.

    Attributes:
        gain, lift: [3].
        gamma: contrast of the middle tones.
        grey: 0 = colours, 1 = black and white; ``tint`` [3] then colours it (sepia).
    """

    gain: np.ndarray
    lift: np.ndarray
    gamma: float
    grey: float
    tint: np.ndarray

    def __call__(self, colour: np.ndarray) -> np.ndarray:
        """Colours [...,3] in 0..1."""
        out = np.clip(colour, 0, 1) ** self.gamma * self.gain + self.lift
        if self.grey:
            out = out + self.grey * ((out @ _GREY)[..., None] * self.tint - out)
        return np.clip(out, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Photo:
    """A spoiled picture.

    Attributes:
        image: [S,S,3] sRGB in 0..1, background and all.
        matte: [S,S] in 0..1, as a segmentation would give it.
        tone: what the clean person's colours become in it.
    """

    image: np.ndarray
    matte: np.ndarray
    tone: Tone


def photographed(
    colour: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None
) -> Photo:
    """A picture of a person as a camera, a file and a segmentation would hand it over.

    Args:
        colour: [S,S,3] sRGB in 0..1 times alpha.
        alpha: [S,S] in 0..1.
        other: [S,S,3] some other picture, for what stands behind.
    """
    size = len(alpha)
    tone = random_tone(rng)
    behind = background(size, rng, other)
    covered, person = alpha, colour
    if rng.random() < 0.12:
        person, covered = _in_front(person, covered, rng)
    if rng.random() < 0.2:
        person = person * _shadow(size, rng)[..., None]
    if rng.random() < 0.3:
        person = _spilled(person, covered, behind, rng)
    if rng.random() < 0.3:
        person = _backlit(person, covered, rng)
    image = tone(person + behind * (1 - covered[..., None]))
    return Photo(_developed(image, rng), spoiled_matte(covered, rng), tone)


def random_tone(rng: np.random.Generator) -> Tone:
    """Exposure, white balance, contrast; one picture in twelve is black and white, or brown."""
    if rng.random() < 0.25:
        return Tone(np.ones(3, np.float32), np.zeros(3, np.float32), 1.0, 0.0, np.ones(3, np.float32))
    exposure, warmth = np.exp(rng.normal(0, 0.12)), rng.normal(0, 0.06)
    gain = exposure * np.exp(np.array([warmth, rng.normal(0, 0.02), -warmth]))
    grey = 1.0 if rng.random() < 0.08 else float(rng.random() < 0.15) * rng.uniform(0, 0.6)
    tint = np.array([1.05, 1.0, 0.88]) if grey == 1 and rng.random() < 0.4 else np.ones(3)
    lift = np.full(3, rng.choice([0, 0, rng.uniform(-0.03, 0.06)]))
    return Tone(gain.astype(np.float32), lift.astype(np.float32), float(np.exp(rng.normal(0, 0.12))), grey, tint)


def background(size: int, rng: np.random.Generator, other: np.ndarray | None = None) -> np.ndarray:
    """[S,S,3]: one colour, a gradient, soft shapes, or another picture out of focus."""
    cv2 = require("cv2", "opencv-python")
    first, second = rng.random((2, 3)) ** rng.uniform(0.5, 2)
    kind = rng.integers(4)
    if kind == 0:
        return np.broadcast_to(first, (size, size, 3)).astype(np.float32)
    if kind == 3 and other is not None:
        blurred = cv2.GaussianBlur(other, (0, 0), float(np.exp(rng.uniform(0, 3)) * size / 256))
        moved = np.roll(blurred, rng.integers(-size // 2, size // 2, 2), (0, 1))
        return moved[:, ::-1].astype(np.float32)
    if kind == 1:
        direction = rng.normal(size=2)
        y, x = np.mgrid[:size, :size] / size - 0.5
        mix = smoothstep((x * direction[0] + y * direction[1]) + 0.5)
    else:
        coarse = rng.random((int(rng.integers(2, 12)), int(rng.integers(2, 12)))).astype(np.float32)
        mix = np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)
    return (first + mix[..., None] * (second - first)).astype(np.float32)


def spoiled_matte(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A matte [S,S] with the errors of segmentations: eaten or bloated, soft, holes, pieces of background, halos."""
    cv2 = require("cv2", "opencv-python")
    size, matte = len(alpha), alpha.astype(np.float32)
    if rng.random() < 0.25:
        return matte
    if rng.random() < 0.6:
        radius = int(rng.integers(1, max(2, size // 40)))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        where = np.ones_like(matte)
        if rng.random() < 0.5:
            # Only on one side, or only the hair.
            direction = rng.normal(size=2)
            y, x = np.mgrid[:size, :size] / size - 0.5
            where = smoothstep(4 * (x * direction[0] + y * direction[1]) + 0.5).astype(np.float32)
        changed = cv2.erode(matte, kernel) if rng.random() < 0.5 else cv2.dilate(matte, kernel)
        matte = matte + where * (changed - matte)
    if rng.random() < 0.12:
        matte = np.maximum(matte, _blob(size, rng, rng.uniform(0.03, 0.10), outside=True))
    if rng.random() < 0.12:
        matte = matte * (1 - _blob(size, rng, rng.uniform(0.02, 0.07), outside=False))
    if rng.random() < 0.5:
        matte = cv2.GaussianBlur(matte, (0, 0), float(rng.uniform(0.3, 2.0) * size / 256))
    if rng.random() < 0.15:
        low = int(rng.integers(size // 8, size // 2))
        matte = cv2.resize(cv2.resize(matte, (low, low), interpolation=cv2.INTER_AREA), (size, size))
    return np.clip(matte, 0, 1)


def _blob(size: int, rng: np.random.Generator, radius: float, outside: bool) -> np.ndarray:
    """A soft ellipse [S,S], at the rim of the picture or anywhere."""
    y, x = np.mgrid[:size, :size] / size
    centre = rng.uniform(0.1, 0.9, 2)
    if outside:
        centre[0] = rng.choice([rng.uniform(-0.05, 0.15), rng.uniform(0.85, 1.05)])
    stretch, angle = np.exp(rng.normal(0, 0.4)), rng.uniform(0, np.pi)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    return smoothstep((radius - np.hypot(u * stretch, v / stretch)) / 0.015 + 0.5).astype(np.float32)


def _in_front(person: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A hand, a microphone, a scarf: an ellipse or a bar from below, or from the side."""
    size = len(alpha)
    y, x = np.mgrid[:size, :size] / size
    colour = np.array([0.85, 0.65, 0.55]) * rng.uniform(0.35, 1) if rng.random() < 0.5 else rng.random(3) ** 2
    foot = np.array([rng.uniform(0.1, 0.9), 1.05])
    tip = np.array([rng.uniform(0.25, 0.75), rng.uniform(0.6, 0.85)])
    along = np.clip(
        ((x - foot[0]) * (tip - foot)[0] + (y - foot[1]) * (tip - foot)[1]) / ((tip - foot) ** 2).sum(), 0, 1
    )
    away = np.hypot(x - foot[0] - along * (tip - foot)[0], y - foot[1] - along * (tip - foot)[1])
    cover = smoothstep((rng.uniform(0.02, 0.09) - away) / 0.01 + 0.5).astype(np.float32)
    shade = (0.75 + 0.5 * (x - 0.5) * rng.normal())[..., None]
    front = (np.clip(colour * shade, 0, 1)).astype(np.float32)
    return person * (1 - cover[..., None]) + front * cover[..., None], np.maximum(alpha, cover)


def _shadow(size: int, rng: np.random.Generator) -> np.ndarray:
    """A factor [S,S]: darker beyond a line, sharp or soft."""
    direction = rng.normal(size=2)
    direction /= np.hypot(*direction)
    y, x = np.mgrid[:size, :size] / size - 0.5
    edge = (x * direction[0] + y * direction[1] + rng.uniform(-0.2, 0.2)) / rng.uniform(0.01, 0.3) + 0.5
    return (1 - rng.uniform(0.15, 0.5) * smoothstep(edge)).astype(np.float32)


def _spilled(person: np.ndarray, alpha: np.ndarray, behind: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The background's colour shines onto the rim."""
    cv2 = require("cv2", "opencv-python")
    near = cv2.GaussianBlur(1 - alpha.astype(np.float32), (0, 0), len(alpha) / 40)[..., None]
    return person + rng.uniform(0.1, 0.5) * near * alpha[..., None] * (behind - person)


def _backlit(person: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lamps and windows behind somebody draw a bright line along the outline, mostly on one side."""
    cv2 = require("cv2", "opencv-python")
    size = len(alpha)
    width = size * np.exp(rng.uniform(np.log(0.006), np.log(0.035)))
    # A half beside a straight outline, 0 two widths inside.
    near = cv2.GaussianBlur(1 - alpha.astype(np.float32), (0, 0), float(width), borderType=cv2.BORDER_REPLICATE)
    direction = rng.normal(size=2)
    direction /= np.hypot(*direction)
    y, x = np.mgrid[:size, :size] / size - 0.5
    side = smoothstep((x * direction[0] + 0.6 * y * direction[1] + rng.uniform(-0.2, 0.3)) / 0.3 + 0.5)
    line = smoothstep((near - 0.05) / 0.35) * side * rng.uniform(0.3, 1) * alpha
    colour = np.clip(1 - rng.uniform(0, 0.35) * rng.random(3), 0, 1).astype(np.float32)
    # Hair and cheeks are not equally bright in it.
    coarse = cv2.resize(rng.uniform(0.3, 1, (9, 9)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return person + (line * coarse)[..., None].astype(np.float32) * (colour * alpha[..., None] - person).clip(min=0)


def _developed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur, low resolution, grain, sensor noise, JPEG."""
    cv2 = require("cv2", "opencv-python")
    size = len(image)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6) * size / 256))
    if rng.random() < 0.25:
        low = int(size * rng.uniform(0.25, 0.8))
        image = cv2.resize(cv2.resize(image, (low, low), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.4:
        level = rng.uniform(0.005, 0.05)
        noise = rng.normal(size=(size, size, 1 if rng.random() < 0.5 else 3)).astype(np.float32) * level
        if rng.random() < 0.5:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.8).reshape(noise.shape) * 2
        image = image + noise * np.sqrt(np.clip(image, 0.05, 1))
    if rng.random() < 0.4:
        pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))])[1]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.float32) / 255
    return np.clip(image, 0, 1).astype(np.float32)
