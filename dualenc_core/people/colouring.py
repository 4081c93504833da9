"""Colours of textures: skin, hair and cloth of another colour that keep their light and dark."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .pack import Pack
from .part import EYES, Part
from .person import Person
from .vectors import LUMINANCE, encoded, smoothstep

# Linear light below which a photograph's differences are noise and blocks of its file.
_NOISE = 0.008


def resized(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture [h,w] or [h,w,c] at the height and width of ``shape``, bilinear."""
    from PIL import Image

    if image.shape[:2] == shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def with_alpha(linear: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Linear colours [H,W,3] and alpha [H,W] in 0..1 → texture uint8 [H,W,4]."""
    return np.concatenate([encoded(linear), (np.clip(alpha, 0, 1) * 255).astype(np.uint8)[..., None]], -1)


def capped(colour: np.ndarray, luminance: float) -> np.ndarray:
    """A colour, darkened to at most some luminance."""
    return np.asarray(colour, np.float32) * min(1, luminance / max(float(colour @ LUMINANCE), 1e-6))


def recolour(linear: np.ndarray, mask: np.ndarray, target: np.ndarray, damp: float = 0.3) -> np.ndarray:
    """Where ``mask`` [H,W], give a linear picture [H,W,3] the colour ``target``.

    Light and dark stay, less so the more it is lightened, and where it is black: black strands hold mostly noise.
    """
    luminance = linear @ LUMINANCE
    mean = max(float((luminance * mask).sum() / max(mask.sum(), 1)), 1e-4)
    target = np.asarray(target, np.float32)
    gain = np.clip(float(target @ LUMINANCE) / mean, 1, 20) ** damp
    ratio = (luminance + _NOISE) / (mean + _NOISE)
    shade = np.minimum(np.clip(ratio, 0.25, 2.4) ** (0.8 / gain), 2.4 / gain)
    return linear + mask[..., None] * (target * shade[..., None] - linear)


def skin_gain(donor: np.ndarray, person: Person) -> np.ndarray:
    """[3] factor from a donor's skin colour to the person's: beyond that, photographed skin looks painted."""
    return np.clip(person.skin / np.maximum(donor, 1e-3), 0.35, 2.6).astype(np.float32)


def iris_texture(pack: Pack, name: str) -> np.ndarray:
    """Texture of an eye; "dark" is the light brown one, darkened inside the iris."""
    texture = pack.image(f"eyes/{'brownlight' if name == 'dark' else name}.webp", 1)[..., :3]
    if name == "dark":
        y, x = np.mgrid[: len(texture), : len(texture)] / len(texture)
        inside = smoothstep((0.122 - np.hypot(x - 0.713, y - 0.300)) / 0.012)[..., None]
        texture = (texture * (1 - inside * np.array([0.48, 0.55, 0.58]))).astype(np.uint8)
    return texture


def eyes(pack: Pack, name: str, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> Part:
    """Both eyeballs."""
    return Part(vertices, faces, uv, iris_texture(pack, name), "eye", EYES, tint=(0.94, 0.92, 0.9))


def looking(vertices: np.ndarray, balls: list[np.ndarray], gaze: np.ndarray) -> np.ndarray:
    """Turn eyeballs (lists of vertices) about their centres, in place; returns their centres [2,3].

    Args:
        gaze: [2] degrees to the person's left (+x), and up.
    """
    left, up = np.radians(gaze)
    about_y = np.array([[np.cos(left), 0, np.sin(left)], [0, 1, 0], [-np.sin(left), 0, np.cos(left)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(up), np.sin(up)], [0, -np.sin(up), np.cos(up)]])
    turn, centres = about_y @ about_x, []
    for ball in balls:
        p = vertices[ball]
        centre = (p.max(0) + p.min(0)) / 2
        centre[2] = p[:, 2].max() - np.ptp(p[:, 0]) / 2
        vertices[ball] = (p - centre) @ turn.T + centre
        centres.append(vertices[ball].mean(0))
    return np.array(centres)


def morph(
    vertices: np.ndarray, morphs: Mapping[str, np.ndarray], deltas: np.ndarray, weights: Mapping[str, float]
) -> None:
    """Add sparse morphs in place: morph k moves vertices ``vert[ptr[k]:ptr[k+1]]`` by the same rows of ``deltas``."""
    names = {str(name): k for k, name in enumerate(morphs["names"])}
    for name, weight in weights.items():
        if weight and name in names:
            a, b = morphs["ptr"][names[name]], morphs["ptr"][names[name] + 1]
            vertices[morphs["vert"][a:b]] += weight * deltas[a:b].astype(np.float32)
