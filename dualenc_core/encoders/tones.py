"""Hair and skin in the photo's tones, before anything is refined: for generators that know both by name.

What stage one tells of photos that are unlike its training shrinks towards what is common, and what a photo does not
show keeps that: brown hair behind black. So the two colours of a description (`people.standard`) are moved until the
generator's own head has the photo's where both show the same, and light whose source cannot be seen is evened out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..camera import Camera
from ..generator import PanoHead
from ..images import resize_area
from ..people.estimate import Estimate
from ..people.relighting import LIGHT_TRAITS, even_light, read_light
from ..people.standard import Standard
from ..rendering.rays import camera_rays

# Hair before skin.
TONES = tuple(tuple(f"{part}.{axis}" for axis in "rgb") for part in ("hair", "skin"))
# Pixels across what is compared, and Gauss-Newton steps.
_SIZE, _STEPS = 64, 2
# How far even light is gone to where light comes straight from behind. People are photographed with light in front of
# them, and stage one, which knows light from everywhere, takes much of it for light from behind.
_EVEN = 0.8
# Standard deviations of a colour that slopes are measured over; what one costs, beside the mean square of what differs;
# and of which changes of hair and skin half is taken: small ones are as often light as they are colour.
_PROBE, _COST, _USUAL = 0.5, 1e-4, (0.5, 1.0)
# A pixel is of the one where it moves by such a share of what moves most, and by less than that with the other.
_HAIR, _NOT_SKIN, _SKIN, _NOT_HAIR = 0.5, 0.6, 0.6, 0.35
# Fewer pixels say nothing.
FEWEST = 20
# Where hair is on the head, pixels of the photo that are fewer deviations from skin count nothing, with more they count
# in full; where it is no more than such a share in all, every pixel does: bald people.
_LIKE_SKIN, _UNLIKE_SKIN, _BALD = 1.0, 4.0, 0.04
# What differs by more counts less, in pictures from -1 to 1: fringes, ribbons, highlights.
_SCALES = (0.5, 0.3, 0.2, 0.1)


@torch.no_grad()
def fit_tones(
    generator: PanoHead, ws: Tensor, image: Tensor, camera: Camera, matte: Tensor, quality: str = "exact"
) -> Tensor:
    """Style vectors whose heads have the photos' colours of hair and skin.

    Args:
        ws: [N,num_ws,w_dim], stage one's.
        image: [N,3,S,S] in -1..1.
        camera: N cameras.
        matte: [N,1,S',S'] in 0..1, coverage of the head.
        quality: of the renders that are compared with the photos (`PanoHead.render`).

    A scarf or a hat in the place of hair counts as hair: what is behind it is more like it than like hair. Where either
    cannot be told, and with generators that know no such colours (official ones), ws come back unchanged.

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.encoders.tones import fit_tones
        >>> generator, camera = dc.load_generator("demo"), dc.Camera.look_at()
        >>> ws = generator.mapping(generator.latents(seed=3))
        >>> seen = generator.render(generator.synthesize(ws), camera, super_resolve=False)
        >>> photo = seen.image * 0.5 - 0.5  # somebody darker
        >>> toned = fit_tones(generator, ws, photo, camera, seen.alpha)
        >>> back = dc.Camera.look_at(yaw=180)  # which the photo does not show
        >>> drawn = [generator.render(generator.synthesize(w), back, super_resolve=False) for w in (ws, toned)]
        >>> bool(drawn[1].image.mean() < drawn[0].image.mean())
        True
    """
    known = _Known.of(generator)
    if known is None:
        return ws
    photos = resize_area(image, _SIZE).float().cpu()
    mattes = F.interpolate(matte.float(), size=(_SIZE, _SIZE), mode="area")[:, 0].cpu()
    views = zip(ws.split(1), photos, mattes, strict=True)
    return torch.cat([_fitted(generator, known, *view, camera[i], quality) for i, view in enumerate(views)])


def known_tones(generator: PanoHead) -> Tensor | None:
    """[2,3,w_dim] a standard deviation of each channel of hair and skin, where w knows them."""
    known = _Known.of(generator)
    return None if known is None else known.tones


@dataclass(frozen=True)
class _Known:
    """Where a description's colours and light are in w.

    Attributes:
        estimate: between w and descriptions.
        tones: [2,3,w_dim] a standard deviation of each channel of hair and skin.
        light: columns of `LIGHT_TRAITS`.
    """

    estimate: Estimate
    tones: Tensor
    light: list[int]

    @classmethod
    def of(cls, generator: PanoHead) -> _Known | None:
        if "traits" not in generator.provenance:
            return None
        standard = Standard.from_provenance(generator.provenance)
        column = {name: i for i, name in enumerate(standard.names)}
        wanted = [*TONES[0], *TONES[1]]
        if not column.keys() >= {*wanted, *LIGHT_TRAITS}:
            return None
        estimate = Estimate(standard, generator.config.w_dim)
        steps = np.zeros((len(wanted), len(column)))
        for step, name in zip(steps, wanted, strict=True):
            step[column[name]] = standard.std[column[name]]
        tones = torch.from_numpy(estimate.step(steps)).unflatten(0, (2, 3)).to(generator.w_avg)
        return cls(estimate, tones, [column[name] for name in LIGHT_TRAITS])

    def toned(self, ws: Tensor, amounts: Tensor) -> Tensor:
        """Style vectors [N,num_ws,w_dim] with colours moved by deviations [2,3]."""
        return ws + torch.einsum("tc,tcw->w", amounts.to(ws), self.tones)

    def evened(self, ws: Tensor, share: float) -> Tensor:
        """Style vectors [N,num_ws,w_dim] with light from behind evened out, straight from there by a share."""
        numbers = self.estimate(ws.cpu().double().mean(1).numpy())
        change = np.zeros_like(numbers)
        light = numbers[:, self.light]
        change[:, self.light] = share * _from_behind(light)[:, None] * (even_light(light) - light)
        return ws + torch.from_numpy(self.estimate.step(change)).to(ws)[:, None]


def _from_behind(light: np.ndarray) -> np.ndarray:
    """[N] how far light [N,30] comes from behind a head: 0 = from the front or a side, 1 = straight from behind."""
    yaw, pitch = (np.radians(read_light(light)[name]) for name in ("light_yaw", "light_pitch"))
    return np.maximum(-np.cos(yaw) * np.cos(pitch), 0)


def _fitted(
    generator: PanoHead, known: _Known, ws: Tensor, photo: Tensor, matte: Tensor, camera: Camera, quality: str
) -> Tensor:
    """One head's ws [1,num_ws,w_dim]; photo [3,S,S], matte [S,S]."""
    ws = known.evened(ws, _EVEN)
    head = generator.synthesize(ws, noise="const")
    seen = generator.render(head, camera, resolution=_SIZE, super_resolve=False, quality=quality)
    origins, directions = camera_rays(camera, _SIZE)
    surface = origins + torch.nan_to_num(seen.depth, posinf=0.0).flatten(1)[..., None] * directions

    def shown(ws: Tensor) -> Tensor:
        """Colours [3,S,S] on the surface of the first head: with other tones it is hardly elsewhere."""
        features = generator.query(generator.synthesize(ws, noise="const"), surface)[1]
        return generator.to_rgb(features.mT.unflatten(2, (_SIZE, _SIZE)), ws)[0].float().cpu()

    now = shown(ws)
    slopes = torch.stack([(shown(ws + _PROBE * tone.sum(0)) - now) / _PROBE for tone in known.tones])
    # Backdrops shine through at outlines.
    alpha = seen.alpha[0, 0].float().cpu()
    both = F.max_pool2d(((matte < 0.97) | (alpha < 0.95)).float()[None], 3, 1, 1)[0] == 0
    places = _places(photo, slopes, both)
    if places is None:
        return ws
    amounts = torch.zeros(2, 3)
    for step in range(_STEPS):
        if step:
            now = shown(known.toned(ws, amounts))
        for amount, slope, place in zip(amounts, slopes, places, strict=True):
            amount += _change(photo - now, slope, place, amount)
    size = amounts.square().mean(1, keepdim=True)
    amounts = amounts * size / (size + torch.tensor(_USUAL).square()[:, None])
    return known.toned(ws, amounts)


def _places(photo: Tensor, slopes: Tensor, both: Tensor) -> Tensor | None:
    """Where hair and skin are, on the head and in the photo alike: [2,S,S] in 0..1; None where that cannot be told.

    Args:
        photo: [3,S,S].
        slopes: [2,3,S,S] of the head's pixels with hair and skin.
        both: [S,S] covered by both.
    """
    if both.sum() < FEWEST:
        return None
    moves = slopes.abs().mean(1)
    hair_moves, skin_moves = moves / torch.quantile(moves[:, both], 0.98, dim=1).clamp(min=1e-6)[:, None, None]
    hair = both & (hair_moves > _HAIR) & (skin_moves < _NOT_SKIN)
    skin = both & (skin_moves > _SKIN) & (hair_moves < _NOT_HAIR)
    if min(hair.sum(), skin.sum()) < FEWEST:
        return None
    # Hairlines are elsewhere in the photo.
    away = (unlike(photo, photo[:, skin]) - _LIKE_SKIN) / (_UNLIKE_SKIN - _LIKE_SKIN)
    other = hair * away.clamp(0, 1)
    return torch.stack([other if other.sum() > _BALD * hair.sum() else hair.float(), skin.float()])


def unlike(photo: Tensor, colours: Tensor) -> Tensor:
    """[S,S] how many deviations the pixels of a photo [3,S,S] are from most of some colours [3,M]."""
    weights, room = torch.ones(colours.shape[1]), 0.05**2 * torch.eye(3)
    for _ in range(6):
        mean = (weights * colours).sum(1) / weights.sum()
        away = colours - mean[:, None]
        # Weights make it too narrow.
        spread = 1.3 * (weights * away) @ away.T / weights.sum() + room
        weights = 1 / (1 + (away * torch.linalg.solve(spread, away)).sum(0) / 3)
    away = photo.flatten(1) - mean[:, None]
    return (away * torch.linalg.solve(spread, away)).sum(0).sqrt().reshape(photo.shape[1:])


def _change(missing: Tensor, slope: Tensor, place: Tensor, gone: Tensor) -> Tensor:
    """By how much [3] a colour, ``gone`` so far, moves on to make up for most of what is missing [3,S,S]."""
    change = torch.zeros(3)
    for scale in _SCALES:
        left = missing - change[:, None, None] * slope
        weight = place / (1 + left.square().mean(0) / scale**2)
        products, wanted = ((weight * slope * values).mean((1, 2)) for values in (slope, missing))
        change = (wanted - _COST * gone) / (products + _COST)
    return change
