"""How surfaces take light: wrapped diffuse light, soft reflections, highlights along strands of hair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .light import Light
from .part import Part
from .vectors import COSINE, dot, harmonics, unit


@dataclass(frozen=True)
class Surface:
    """Points on a mesh: normal, ray direction and strand direction [n,3]; light that reaches them [n,4]."""

    normal: np.ndarray
    ray: np.ndarray
    strand: np.ndarray
    visible: np.ndarray


def shade(part: Part, colour: np.ndarray, skin: np.ndarray, at: Surface, light: Light) -> np.ndarray:
    """Linear radiance [n,3] of points with linear ``colour`` [n,3]; ``skin`` [n] in 0..1 counts for kind "skin"."""
    kind, n, d = part.kind, at.normal, at.ray
    colour = colour * np.asarray(part.tint, np.float32)
    ratio = at.visible[:, :3] ** (0.5 if kind in ("eye", "teeth") else 1)
    key = at.visible[:, 3:]
    ambient = np.maximum(harmonics(n) @ (light.harmonics * COSINE), 0.03) * ratio
    towards = (n @ light.direction)[:, None]
    half = unit(light.direction - d)
    highlight = np.clip(dot(n, half), 0, 1)[:, None]
    if kind in ("hair", "card"):
        along = (at.strand @ light.direction)[:, None]
        across = np.clip(1 - dot(at.strand, half)[:, None] ** 2, 0, 1)
        diffuse = np.sqrt(np.clip(1 - along * along, 0, 1)) * np.clip((towards + 0.6) / 1.6, 0, 1) * key
        shine = (0.14 * colour + 0.012) * across**40 * light.key * key * np.clip(towards + 0.5, 0, 1)
        return colour * (ambient + light.key * diffuse) + part.gloss * shine
    facing = dot(n, d)[:, None]
    fresnel = (1 - np.clip(-facing, 0, 1)) ** 5
    share = skin[:, None] if kind == "skin" else 0.0
    # Red light scatters furthest under skin.
    wrap = np.array([0.36, 0.2, 0.14], np.float32) * share + 0.1
    diffuse = np.clip((towards + wrap) / (1 + wrap), 0, 1) ** (1 + 0.4 * share)
    out = colour * (ambient + light.key * diffuse * key)
    mirrored = d - 2 * facing * n
    if kind == "eye":
        glint = 8 * highlight**1200 * light.key * np.clip(key * 2, 0, 1)
        return out + (0.02 + 0.35 * fresnel) * light.reflection(mirrored, sharp=True) * ratio + glint
    if kind == "glass":
        reflection = (0.04 + 0.7 * fresnel) * light.reflection(mirrored, sharp=True)
        return out * 0.3 + reflection + 3 * highlight**500 * light.key
    if kind == "teeth":
        return out + 0.3 * highlight**60 * light.key * key + 0.03 * ambient
    soft = (0.022 + 0.16 * fresnel) * light.reflection(mirrored, sharp=False) * ratio
    gleam = (0.10 * highlight**10 + 0.12 * highlight**40) * light.key * key
    gleam = gleam * np.clip(towards * 4, 0, 1) * (0.5 + 2 * fresnel)
    return out + (soft + gleam) * (part.gloss * share + 0.12 * (1 - share))


def tone(x: np.ndarray) -> np.ndarray:
    """Linear radiance → sRGB, with a soft shoulder above 0.65."""
    x = np.maximum(x, 0)
    x = np.where(x > 0.65, 0.65 + 0.35 * np.tanh((x - 0.65) / 0.6), x)
    return np.where(x < 0.0031, 12.92 * x, 1.055 * np.maximum(x, 1e-6) ** (1 / 2.4) - 0.055)
