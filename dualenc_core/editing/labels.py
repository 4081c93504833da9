"""Directions of any generator from labels of its own heads: expressions and proportions by the face mesh, and colours.

Heads of random latents are drawn from the front and measured; w is regressed on all measures at once, so that each
direction leaves the other measures where they are, as far as the generator's heads can tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError
from ..generator import PanoHead
from ..people.attributes import Attribute
from ..portrait.faces import find_faces
from ..portrait.photo import read_photo
from .direction_file import VectorDirections
from .face_regions import draw_part
from .hair import hair_mask

# Name, group, what more of it does. Measures of faces are lengths in distances of the outer eye corners.
LABELS = {
    "mouth_open": ("expression", "an open mouth"),
    "smile": ("expression", "corners of the mouth up"),
    "eyes_open": ("expression", "eyes wide open"),
    "brows_up": ("expression", "raised brows"),
    "mouth_width": ("face", "a wider mouth"),
    "face_width": ("face", "a wider face"),
    "skin_lightness": ("face", "lighter skin"),
    "hair_lightness": ("hair", "lighter hair"),
    "hair_redness": ("hair", "redder hair"),
}
# Heads without a face or without hair are left out; as many measures per head must be left.
_FEWEST = 4
# Hair of fewer pixels, as a share of the picture, has no colour.
_LEAST_HAIR = 0.005
_OUTER_EYES, _INNER_LIPS, _LIP_CORNERS = (33, 263), (13, 14), (61, 291)
_LIDS, _BROWS = ((159, 145), (386, 374)), ((105, 159), (334, 386))
_SIDES, _TOP_TO_CHIN = (234, 454), (10, 152)
_CHEEKS = (50, 280)
_LUMINANCE = torch.tensor([0.299, 0.587, 0.114])


@torch.no_grad()
def labelled_directions(
    generator: PanoHead,
    heads: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> VectorDirections:
    """Directions of `LABELS`; one unit is a standard deviation of that measure among the generator's heads.

    Args:
        heads: random heads that are drawn and measured, about a second each on a core.
        seed: of their latents.
        progress: called as progress(heads done, heads).

    Raises DualEncError where too few of them show a face.
    """
    ws = generator.mapping(generator.latents(seed, heads))
    rows, styles = [], []
    for i in range(heads):
        view = generator.render(generator.synthesize(ws[i : i + 1]), Camera.look_at(), quality="draft")
        found = measures(view.image[0].cpu(), view.alpha[0].cpu(), str(generator.w_avg.device))
        if found is not None:
            rows.append([found[name] for name in LABELS])
            styles.append(ws[i, 0].double().cpu())
        if progress is not None:
            progress(i + 1, heads)
    if len(rows) < _FEWEST * len(LABELS):
        raise DualEncError(
            f"{len(rows)} of {heads} sampled heads show a face with hair, expected at least {_FEWEST * len(LABELS)}; "
            "sample more, or leave labels out"
        )
    vectors = regressed(torch.stack(styles), torch.tensor(rows, dtype=torch.float64)).float()
    attributes = [
        Attribute(f"{name}_label", group, "standard deviations", -4.0, 4.0, f"{about}, as measured on renders")
        for name, (group, about) in LABELS.items()
    ]
    wide = vectors[:, None].expand(-1, generator.config.num_ws, -1).contiguous()
    return VectorDirections(attributes, wide, generator.w_avg, generator.fingerprint)


def regressed(w: Tensor, labels: Tensor) -> Tensor:
    """Directions [K,W] of styles [M,W] for labels [M,K]: what of w goes with one standard deviation of each label while
    the others stay.

    Example:
        >>> import torch
        >>> from dualenc_core.editing.labels import regressed
        >>> w = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> regressed(w, torch.stack([5 * w[:, 0], w[:, 0] + w[:, 2]], 1)).round(decimals=1).abs()
        tensor([[1.0000, 0.0000, 1.0000],
                [0.0000, 0.0000, 1.4000]], dtype=torch.float64)
    """
    centred = labels - labels.mean(0)
    centred = centred / centred.square().mean(0).sqrt().clamp(min=1e-9)
    return torch.linalg.lstsq(centred, w - w.mean(0)).solution


def measures(image: Tensor, alpha: Tensor, device: str = "cpu") -> Mapping[str, float] | None:
    """`LABELS` of a front view [3,S,S] in -1..1 with its alpha [1,s,s]; None without a face or hair."""
    image = (image / 2 + 0.5).clamp(0, 1)
    faces = find_faces(read_photo(image), device)
    if not faces:
        return None
    points, size = faces[0].mesh.points[:, :2], image.shape[-1]
    cover = torch.nn.functional.interpolate(alpha[None], (size, size), mode="bilinear", align_corners=False)[0, 0]
    hair = hair_mask(image, cover.clamp(0, 1), draw_part(points, "face", size), points)
    if float(hair.mean()) < _LEAST_HAIR:
        return None
    skin = torch.stack([_around(image, points[i], size // 40) for i in _CHEEKS]).mean(0)
    colour = (image * hair).sum((1, 2)) / hair.sum()
    return {
        **face_measures(points),
        "skin_lightness": float(skin @ _LUMINANCE),
        "hair_lightness": float(colour @ _LUMINANCE),
        "hair_redness": float((colour[0] - colour[2]) / colour.sum().clamp(min=1e-3)),
    }


def face_measures(points: np.ndarray) -> dict[str, float]:
    """Those of the mesh [468,2]: x to the right, y down."""

    def apart(pair: tuple[int, int]) -> float:
        return float(np.linalg.norm(points[pair[0]] - points[pair[1]]))

    eyes = apart(_OUTER_EYES)
    down = points[_TOP_TO_CHIN[1]] - points[_TOP_TO_CHIN[0]]
    lift = points[list(_INNER_LIPS)].mean(0) - points[list(_LIP_CORNERS)].mean(0)
    return {
        "mouth_open": apart(_INNER_LIPS) / eyes,
        "smile": float(lift @ down) / float(np.linalg.norm(down)) / eyes,
        "eyes_open": sum(map(apart, _LIDS)) / 2 / eyes,
        "brows_up": sum(map(apart, _BROWS)) / 2 / eyes,
        "mouth_width": apart(_LIP_CORNERS) / eyes,
        "face_width": apart(_SIDES) / apart(_TOP_TO_CHIN),
    }


def _around(image: Tensor, place: np.ndarray, reach: int) -> Tensor:
    """Mean colour [3] of a square about a place in pixels."""
    x, y = (min(max(round(float(v)), reach), image.shape[-1] - reach - 1) for v in place)
    return image[:, y - reach : y + reach + 1, x - reach : x + reach + 1].mean((1, 2))
