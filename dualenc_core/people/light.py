"""Light: an environment as spherical harmonics, with its strongest side as a key light that casts shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .vectors import COSINE, LUMINANCE, harmonics, sphere, unit


@dataclass(frozen=True)
class Light:
    """What shines on a person.

    Attributes:
        harmonics: [9,3] radiance without the key light.
        direction: [3] unit vector towards the key light.
        key: [3] irradiance of the key light over π.
        sharp, soft: [h,w,3] environments for reflections in eyes and on skin, before the turn.
        turn: [3,3] rotation of the environment about y.
    """

    harmonics: np.ndarray
    direction: np.ndarray
    key: np.ndarray
    sharp: np.ndarray
    soft: np.ndarray
    turn: np.ndarray

    def reflection(self, d: np.ndarray, sharp: bool) -> np.ndarray:
        """Radiance [n,3] from directions [n,3]: bilinear in the environment."""
        image = self.sharp if sharp else self.soft
        h, w = image.shape[:2]
        d = d @ self.turn
        x = (np.arctan2(d[:, 0], d[:, 2]) / (2 * np.pi)) % 1 * w - 0.5
        y = np.arccos(np.clip(d[:, 1], -1, 1)) / np.pi * h - 0.5
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]

        def at(j: np.ndarray, i: np.ndarray) -> np.ndarray:
            return image[np.clip(j, 0, h - 1), i % w]

        top = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
        return top * (1 - fy) + (at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx) * fy

    @property
    def numbers(self) -> np.ndarray:
        """What a description says about light: [30] harmonics, and the key light's vector times its level."""
        return np.concatenate([self.harmonics.ravel(), self.direction * (self.key @ LUMINANCE)])


def make_light(
    radiance: np.ndarray, environment: np.ndarray, turn: float, level: float, share: float, warmth: float = 0.0
) -> Light:
    """An environment turned about y, balanced to white and exposed.

    Args:
        radiance: [9,3] harmonics.
        environment: [h,w,3] latitude-longitude picture of the same.
        turn: radians.
        level: brightness of white cards that face the camera.
        share: part of the first band that becomes the key light, 0..1.
        warmth: log2 of red over blue, after the balance.
    """
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    directions = sphere(512)
    sh = 4 * np.pi / len(directions) * harmonics(directions).T @ (harmonics(directions @ rotation) @ radiance)
    normals = unit(np.array([[0.3, 0.35, 0.9], [-0.3, 0.35, 0.9]]))
    card = np.maximum((harmonics(normals) @ (sh * COSINE)).mean(0), 1e-6)
    balance = (card.mean() / card) ** 0.88 * 2.0 ** (warmth * np.array([0.5, 0, -0.5]))
    gain = level / (card * balance).mean()
    sh = sh * balance * gain
    towards = unit((sh @ LUMINANCE)[[3, 1, 2]])
    towards = unit(towards + np.array([0, max(0, 0.1 - towards[1]), 0])).astype(np.float32)
    irradiance = np.maximum(sh[[3, 1, 2]].T @ towards, 0) * share / 0.488603
    # What is left must not become negative anywhere that matters.
    irradiance *= min(1, 0.6 * sh[0].min() / max((harmonics(towards)[0] * irradiance).max(), 1e-6))
    sh = sh - harmonics(towards)[:, None] * irradiance
    sharp = np.minimum(environment.astype(np.float32) * balance * gain, 3 * level)
    return Light(
        sh.astype(np.float32),
        towards,
        (irradiance / np.pi).astype(np.float32),
        sharp.astype(np.float32),
        _blurred(sharp).astype(np.float32),
        rotation,
    )


def _blurred(image: np.ndarray) -> np.ndarray:
    rows = np.arange(len(image))
    wide = np.mean([np.roll(image, j, 1) for j in range(-6, 7)], 0)
    return np.mean([wide[np.clip(rows + j, 0, len(image) - 1)] for j in range(-3, 4)], 0)
