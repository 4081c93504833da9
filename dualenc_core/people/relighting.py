"""The light of a description, read and changed: turned, lifted, stronger, softer, warmer, even.

Works on `Light.numbers` [N,30]: 27 harmonics (band by band, red, green, blue) and the key light's vector. Brightness is
that of green, so that warmth does not change it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .vectors import COSINE, harmonics, sphere, unit

LIGHT_TRAITS = (*(f"light.{i}{c}" for i in range(9) for c in "rgb"), *(f"light.key.{axis}" for axis in "xyz"))
LIGHTING = ("light_yaw", "light_pitch", "light_strength", "light_softness", "light_warmth")
_CONSTANT, _LINEAR = 0.282095, 0.488603
# Irradiance of a key light of 1.
_IRRADIANCE = np.pi
# Brightness below which there is no telling what the light is like.
_DARK = 1e-3
# Even light: how much of it comes from above and from the front, as a share of the whole.
_ABOVE, _FRONT = 0.3, 0.3
_CARDS = unit(np.array([[0.3, 0.35, 0.9], [-0.3, 0.35, 0.9]]))


def read_light(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Where light [N,30] comes from, in degrees (yaw 0 = front, + = the viewer's right), and how it is.

    Returns `LIGHTING`, each [N]: strength in stops, softness = share without a direction of its own, warmth = log2 of
    red over blue.
    """
    sh, key = _parts(numbers)
    whole, beam = _amounts(sh, key)
    d = _direction(sh, key)
    angles = np.degrees(np.arctan2(d[:, 0], d[:, 2])), np.degrees(np.arcsin(np.clip(d[:, 1], -1, 1)))
    red, blue = np.maximum(sh[:, 0, 0], _DARK), np.maximum(sh[:, 0, 2], _DARK)
    values = (*angles, np.log2(whole), 1 - beam / whole, np.log2(red / blue))
    return dict(zip(LIGHTING, values, strict=True))


def relit(numbers: np.ndarray, values: Mapping[str, float]) -> np.ndarray:
    """Light [N,30] changed by values of `LIGHTING`: what `read_light` says changes by as much, and nothing else.

    Pitch stops straight above and below, softness where all or next to nothing has a direction.
    """
    sh, key = _parts(numbers)
    yaw, pitch, strength, softness, warmth = (float(values.get(name, 0.0)) for name in LIGHTING)
    if yaw or pitch:
        sh, key = _turned(sh, key, yaw, pitch)
    if softness:
        whole, beam = _amounts(sh, key)
        wanted = np.clip(beam / whole - softness, 0, 0.95) * whole
        towards = np.where((beam > _DARK)[:, None], unit(key), _direction(sh, key))
        tint = sh[:, :1] / np.maximum(sh[:, :1, 1:2], _DARK)
        change = (beam - wanted) / _CONSTANT**2
        key = towards * (wanted / (_CONSTANT**2 * _IRRADIANCE))[:, None]
        sh = sh + harmonics(towards)[:, :, None] * change[:, None, None] * tint
    gain = 2.0 ** (strength + warmth * np.array([0.5, 0, -0.5]))
    return np.concatenate([(sh * gain).reshape(len(sh), 27), key * 2.0**strength], axis=1)


def even_light(numbers: np.ndarray) -> np.ndarray:
    """White light [N,30] from everywhere, a little more from above and the front, that is as bright on a face."""
    sh, key = _parts(numbers)
    level = (harmonics(_CARDS) @ (sh[..., 1] * COSINE[:, 0])[..., None])[..., 0].mean(1)
    level = np.clip(level + np.maximum(key @ _CARDS.T, 0).mean(1), 0.3, 3)
    shape = np.zeros(9)
    shape[:3] = 1, _ABOVE, _FRONT
    shape = shape / (harmonics(_CARDS) @ (shape * COSINE[:, 0])).mean()
    even = np.repeat((level[:, None] * shape)[..., None], 3, axis=2)
    return np.concatenate([even.reshape(len(sh), 27), np.zeros((len(sh), 3))], axis=1)


def _parts(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return numbers[:, :27].reshape(-1, 9, 3).astype(np.float64), numbers[:, 27:].astype(np.float64)


def _amounts(sh: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Constant part of all light [N], and of the key light."""
    beam = _CONSTANT**2 * _IRRADIANCE * np.linalg.norm(key, axis=1)
    return np.maximum(_CONSTANT * sh[:, 0, 1] + beam, _DARK), beam


def _direction(sh: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Unit vectors [N,3] to where most light comes from."""
    return unit(sh[:, [3, 1, 2], 1] + _LINEAR * _IRRADIANCE * key)


def _turned(sh: np.ndarray, key: np.ndarray, yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    turned = [_turn_one(*one, yaw, pitch) for one in zip(sh, key, strict=True)]
    return np.stack([t[0] for t in turned]), np.stack([t[1] for t in turned])


def _turn_one(sh: np.ndarray, key: np.ndarray, yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    d = _direction(sh[None], key[None])[0]
    azimuth, height = np.arctan2(d[0], d[2]), np.degrees(np.arcsin(np.clip(d[1], -1, 1)))
    lift = np.radians(np.clip(height + pitch, -89.9, 89.9) - height) if pitch else 0.0
    # To the front, up, and round to where it shall be.
    rotation = _about_y(azimuth + np.radians(yaw)) @ _about_x(-lift) @ _about_y(-azimuth)
    points = sphere(256).astype(np.float64)
    band = np.linalg.lstsq(harmonics(points), harmonics(points @ rotation), rcond=None)[0]
    return band @ sh, rotation @ key


def _about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
