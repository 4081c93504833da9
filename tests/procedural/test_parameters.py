"""Heads: sampling, latent family, container."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.errors import DualEncError
from dualenc_core.procedural import LATENT_DIM, Heads, heads_from_latent, sample_heads
from dualenc_core.procedural.heads import DETAILS, FIELD_NAMES


def difference(a: Heads, b: Heads) -> float:
    return max(float((getattr(a, name) - getattr(b, name)).abs().max()) for name in FIELD_NAMES)


def test_same_seed_same_heads_other_seed_others() -> None:
    assert difference(sample_heads(5, 3), sample_heads(5, 3)) == 0
    assert difference(sample_heads(5, 3), sample_heads(5, 4)) > 0.1


def test_details_leave_the_latent_alone_and_the_plain_family_has_none() -> None:
    plain, detailed = sample_heads(40, 9, details=False), sample_heads(40, 9, details=True)
    assert torch.equal(plain.latent, detailed.latent)
    assert difference(plain, heads_from_latent(plain.latent)) == 0
    present = torch.stack([getattr(detailed, name) > 0 for name in DETAILS]).sum(0)
    assert int(present.min()) >= 1 and int(present.max()) <= 3
    assert all(float(getattr(plain, name).abs().max()) == 0 for name in DETAILS)
    assert difference(detailed, heads_from_latent(detailed.latent)) > 0.5


def test_only_the_direction_of_the_latent_matters() -> None:
    z = torch.randn(6, LATENT_DIM, generator=torch.Generator().manual_seed(0))
    a, b = heads_from_latent(z), heads_from_latent(3.7 * z)
    assert max(float((getattr(a, n) - getattr(b, n)).abs().max()) for n in FIELD_NAMES if n != "latent") < 1e-5


def test_parameters_are_bounded_and_smooth_in_the_latent() -> None:
    z = torch.randn(256, LATENT_DIM, generator=torch.Generator().manual_seed(1))
    step = 1e-3 * torch.randn(256, LATENT_DIM, generator=torch.Generator().manual_seed(2))
    heads, near = heads_from_latent(z), heads_from_latent(z + step)
    for name, value in heads.items():
        if name != "latent":
            assert float(value.min()) >= -1 and float(value.max()) <= 1, name
    assert difference(heads, near) < 0.03


def test_the_family_holds_all_hairstyles() -> None:
    h = sample_heads(400, 0, details=False)
    loose = (h.hair > 0.9) & (h.bun < 0.05) & (h.ponytail < 0.05)
    styles = {
        "bald": h.hair < 0.3,
        "short": loose & (h.hair_length < 0.1) & (h.curl < 0.2),
        "bob": loose & (h.hair_length > 0.25) & (h.hair_length < 0.6),
        "long": loose & (h.hair_length > 0.8),
        "curls": loose & (h.curl > 0.8),
        "bun": h.bun > 0.9,
        "ponytail": h.ponytail > 0.9,
        "beard": h.beard > 0.8,
    }
    for name, chosen in styles.items():
        assert int(chosen.sum()) >= 4, name


def test_indexing_and_joining() -> None:
    heads = sample_heads(4, 2)
    assert len(heads[1]) == 1 and len(heads[-1]) == 1 and len(heads[1:3]) == 2 and len(heads[torch.tensor([0, 2])]) == 2
    assert difference(Heads.cat([heads[i] for i in range(4)]), heads) == 0
    assert difference(heads[-1], heads[3]) == 0
    assert float(heads.replace(smile=0.5).smile.min()) == 0.5
    with pytest.raises(IndexError):
        heads[4]


@pytest.mark.parametrize(
    "z", [torch.ones(3, 15), torch.ones(16), torch.zeros(1, 16), torch.full((1, 16), float("nan"))], ids=str
)
def test_bad_latents_are_refused(z: torch.Tensor) -> None:
    with pytest.raises(DualEncError, match="z has"):
        heads_from_latent(z)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(DualEncError, match="n is 0"):
        sample_heads(0, 1)
    with pytest.raises(DualEncError, match="no field 'hat'"):
        sample_heads(1, 1).replace(hat=1.0)
    with pytest.raises(DualEncError, match="Heads.cat got no heads"):
        Heads.cat([])
    values = dict(sample_heads(2, 1).items()) | {"smile": torch.zeros(3)}
    with pytest.raises(DualEncError, match="Heads.smile has shape"):
        Heads(**values)
