"""From a latent to a head (the demo generator's ground truth), and random heads with details outside that family."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import DualEncError
from .heads import COLOURS, DETAILS, LATENT_DIM, Heads
from .palette import DYE_COOL, DYE_WARM, EYES, GREY, HAIR, SKIN, mix, ramp, smoothstep

# The fixed sparse mix: control = tanh(0.8 · Σ weight · z[index]). One latent number leads each trait, so that a small
# mapping network learns it quickly:
#   0 amount of hair (bald … full)   4 hair: dark … light     8, 9 shirt colour        13 mouth, smile
#   1 length of hair                 5 hair: dyed, red, grey   10 beard                 14 nose
#   2 bun (+) … ponytail (−)         6 skin: dark … light      11 shape of the face     15 brows, fringe
#   3 curls                          7 eye colour, undertone   12 eyes, cheeks
CONTROLS: dict[str, tuple[tuple[int, float], ...]] = {
    "face_width": ((11, 1.0),),
    "face_length": ((11, -0.6), (14, 0.4)),
    "jaw_width": ((11, 0.5), (10, 0.7)),
    "chin": ((11, -0.5), (13, 0.4), (10, 0.3)),
    "cheeks": ((12, 0.8), (11, 0.4)),
    "nose_length": ((14, 1.0),),
    "nose_width": ((14, 0.5), (6, -0.6)),
    "nose_upturn": ((14, -0.6), (12, 0.5)),
    "ear_size": ((15, 0.6), (11, -0.6)),
    "ear_spread": ((15, -0.7), (12, 0.4)),
    "eye_size": ((12, 1.0),),
    "eye_spacing": ((12, 0.4), (11, 0.6)),
    "eye_tilt": ((7, 0.6), (15, 0.5)),
    "eye_open": ((12, 0.6), (15, 0.5)),
    "brow_height": ((15, 0.8), (13, 0.3)),
    "brow_weight": ((15, -0.6), (10, 0.6)),
    "brow_tilt": ((13, 0.5), (15, 0.6)),
    "mouth_width": ((13, 0.7), (11, 0.4)),
    "lip_fullness": ((13, -0.5), (6, -0.6)),
    "smile": ((13, 1.0),),
    "neck_width": ((10, 0.6), (11, 0.6)),
    "shoulder_width": ((10, 0.6), (8, 0.4)),
    "parting": ((3, -0.5), (5, 0.7)),
}


def heads_from_latent(z: Tensor) -> Heads:
    """Heads of the latent family: smooth, bounded, no details.

    ``z`` is first scaled to unit RMS, as the generator's mapping network does, so only its direction matters. Then the
    fixed sparse mix (``CONTROLS``) and threshold ramps give the parameters.

    Args:
        z: ``[N,16]``, finite, no all-zero row.

    Raises:
        DualEncError: wrong shape, NaN or infinity, or a zero row.
    """
    if z.ndim != 2 or z.shape[1] != LATENT_DIM:
        raise DualEncError(
            f"z has shape {tuple(z.shape)}, expected [N,{LATENT_DIM}]: one row of {LATENT_DIM} numbers a head"
        )
    z = z.detach().float()
    rms = z.square().mean(1, keepdim=True).sqrt()
    if not bool((torch.isfinite(rms) & (rms > 0)).all()):
        raise DualEncError(
            "z has a row that is zero, NaN or infinite, expected finite numbers; draw it with torch.randn"
        )
    u = z / rms
    mixes = {name: torch.stack([w * u[:, i] for i, w in terms]).sum(0) for name, terms in CONTROLS.items()}
    controls = {name: torch.tanh(0.8 * mix) for name, mix in mixes.items()}

    hair = smoothstep(-1.6, -0.3, u[:, 0])
    present = smoothstep(0.45, 0.9, hair)
    bun = smoothstep(0.65, 1.15, u[:, 2]) * present
    ponytail = smoothstep(0.65, 1.15, -u[:, 2]) * present
    amounts = {
        "hair": hair,
        # tied hair is gathered: it no longer hangs
        "hair_length": smoothstep(-0.4, 1.5, u[:, 1]) * present * (1 - torch.maximum(bun, ponytail)),
        "curl": smoothstep(0.1, 1.3, u[:, 3]),
        "fringe": smoothstep(-1.0, 1.4, u[:, 15] * 0.8 + u[:, 1] * 0.5),
        "bun": bun,
        "ponytail": ponytail,
        "beard": smoothstep(0.35, 1.4, u[:, 10]),
        "blush": 0.28 + 0.2 * controls["cheeks"],
    }
    none = torch.zeros_like(hair)
    blank = none[:, None].expand(-1, 3)
    absent = {name: none for name in DETAILS}
    absent |= {"glasses_size": none, "paint_height": none, "strand_angle": none, "mole_position": blank}
    absent |= {
        name: blank for name in ("glasses_colour", "paint_colour", "patch_colour", "strand_colour", "earring_colour")
    }
    return Heads(latent=z, **controls, **amounts, **_colours(u), **absent)


def _colours(u: Tensor) -> dict[str, Tensor]:
    skin = ramp(SKIN, 0.5 + 0.24 * u[:, 6])
    undertone = torch.tanh(u[:, 7])[:, None] * torch.tensor([0.012, 0.0, -0.022], device=u.device)
    skin = skin + undertone
    hair = ramp(HAIR, 0.48 + 0.30 * u[:, 4])
    hair = mix(hair, GREY, smoothstep(0.7, 1.4, u[:, 5] - 0.5 * u[:, 4].abs()) * 0.8)
    dyed = smoothstep(0.9, 1.5, -u[:, 5])
    dye = mix(torch.tensor([DYE_COOL], device=u.device).expand(len(u), 3), DYE_WARM, smoothstep(-0.5, 0.5, u[:, 9]))
    hair = mix(hair, dye, dyed)
    # an opponent-colour plane has no seam, unlike a hue angle
    warm, green = torch.tanh(0.9 * u[:, 8]), torch.tanh(0.9 * u[:, 9])
    shirt = torch.stack(
        [0.50 + 0.34 * warm + 0.04 * green, 0.46 + 0.06 * warm + 0.26 * green, 0.55 - 0.30 * warm + 0.12 * green], 1
    )
    eyes = ramp(EYES, 0.45 + 0.3 * u[:, 7] + 0.08 * u[:, 4])
    lips = mix(
        skin * torch.tensor([1.0, 0.68, 0.66], device=u.device), (0.76, 0.20, 0.26), 0.38 - 0.2 * torch.tanh(u[:, 10])
    )
    return {
        "skin_colour": skin.clamp(0.03, 0.97),
        "hair_colour": hair.clamp(0.03, 0.95),
        "eye_colour": eyes,
        "lip_colour": lips.clamp(0.03, 0.95),
        "shirt_colour": shirt.clamp(0.05, 0.95),
        "collar_colour": mix(shirt, (0.95, 0.94, 0.90), torch.full_like(warm, 0.45)).clamp(0.05, 0.97),
    }


def sample_heads(n: int, seed: int, details: bool = True) -> Heads:
    """Random heads, the same for the same ``(n, seed)``.

    Args:
        n: how many, at least 1.
        seed: seed of the CPU random generator.
        details: also give each head one to three details outside the latent family (glasses, freckles, a stripe of face
            paint, colour patches on the cheeks, a dyed strand, striped hair, earrings, a mole) and jitter its ordinary
            parameters.

    Returns:
        Heads on the CPU; ``latent`` is the z that each was made from. The z do not depend on ``details``.

    Raises:
        DualEncError: ``n`` is below 1.
    """
    if n < 1:
        raise DualEncError(f"n is {n}, expected at least 1 head")
    heads = heads_from_latent(torch.randn(n, LATENT_DIM, generator=torch.Generator().manual_seed(seed)))
    if not details:
        return heads
    # its own stream, so that the z stay those of details=False
    return _add_details(_jitter(heads, rng := torch.Generator().manual_seed(seed ^ 0x5DEECE66D)), rng)


def _jitter(heads: Heads, rng: torch.Generator) -> Heads:
    changes: dict[str, Tensor] = {}
    for name in CONTROLS:
        changes[name] = (getattr(heads, name) + 0.15 * torch.randn(len(heads), generator=rng)).clamp(-1, 1)
    for name in COLOURS[:6]:
        changes[name] = (getattr(heads, name) + 0.03 * torch.randn(len(heads), 3, generator=rng)).clamp(0.03, 0.97)
    return heads.replace(**changes)


def _add_details(heads: Heads, rng: torch.Generator) -> Heads:
    n = len(heads)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=rng)

    # rank of a random permutation per head: exactly `count` of the details are present
    order = torch.rand(n, len(DETAILS), generator=rng).argsort(1).argsort(1)
    count = torch.randint(1, 4, (n, 1), generator=rng)
    present = (order < count).float() * (0.75 + 0.25 * torch.rand(n, len(DETAILS), generator=rng))
    changes = {name: present[:, i] for i, name in enumerate(DETAILS)}
    changes["glasses"] = (changes["glasses"] > 0).float()
    # hairless heads cannot wear these: a mole takes their place
    hairless = heads.hair < 0.6
    for name in ("strand", "stripes"):
        changes["mole"] = torch.maximum(changes["mole"], changes[name] * hairless)
        changes[name] = changes[name] * ~hairless
    side = torch.randint(0, 2, (n,), generator=rng) * 2.0 - 1
    changes |= {
        "glasses_size": uniform(-1, 1),
        "glasses_colour": _vivid(uniform(0, 1), uniform(0.1, 0.5)),
        "paint_height": uniform(-0.05, 0.135),
        "paint_colour": _vivid(uniform(0, 1), uniform(0.45, 0.9)),
        "patch_colour": _vivid(uniform(0, 1), uniform(0.5, 0.9)),
        "strand_angle": side * uniform(0.35, 2.2),
        "strand_colour": _vivid(uniform(0, 1), uniform(0.5, 0.95)),
        "earring_colour": mix(torch.tensor([[0.93, 0.75, 0.28]]).expand(n, 3), (0.45, 0.75, 0.85), uniform(0, 1)),
        "mole_position": torch.stack([side * uniform(0.03, 0.10), uniform(-0.12, 0.02), torch.full((n,), 0.17)], 1),
    }
    return heads.replace(**changes)


def _vivid(hue: Tensor, value: Tensor) -> Tensor:
    phase = torch.tensor([0.0, 2.0, 4.0]) * math.pi / 3
    return (value[:, None] * (0.6 + 0.5 * torch.cos(2 * math.pi * hue[:, None] - phase))).clamp(0.03, 0.97)
