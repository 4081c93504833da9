"""Descriptions: the same latent is the same person, numbers say all, and donors that are kept back stay so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.people import LATENT_DIM, numbers, people_from_latent, sample_people, trait_names
from dualenc_core.people.donors import EXPRESSIONS, STYLES, VALID, WIG_OWNERS, female_donor, opposite
from dualenc_core.people.standard import W_SPREAD, Standard, styles_of

DARK = np.zeros(30)


@pytest.fixture(scope="module")
def crowd():
    return sample_people(400, seed=5)


def test_a_person_is_the_same_whoever_is_drawn_with_it(crowd):
    again = sample_people(7, seed=5)
    assert all((numbers(a, DARK) == numbers(b, DARK)).all() for a, b in zip(crowd, again, strict=False))
    assert (numbers(crowd[0], DARK) != numbers(sample_people(1, seed=6)[0], DARK)).any()


def test_only_the_direction_of_a_latent_counts():
    z = np.random.default_rng(0).normal(size=(3, LATENT_DIM))
    for a, b in zip(people_from_latent(z), people_from_latent(2.5 * z), strict=True):
        np.testing.assert_allclose(numbers(a, DARK), numbers(b, DARK), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.zeros((2, LATENT_DIM)), np.full((1, LATENT_DIM), np.nan), np.ones((2, 5))])
def test_impossible_latents_are_refused(bad):
    with pytest.raises(DualEncError, match="latents of people"):
        people_from_latent(bad)


def test_traits_are_plausible(crowd):
    for p in crowd:
        assert 4 < p.age < 90 and -1 <= p.weight <= 1
        assert (p.skin > 0).all() and (p.skin < 1).all() and (p.hair > 0).all()
        assert 0 <= p.expression.min() and p.expression.max() <= 1
        assert not (p.amount("smile") > 0 and p.amount("sad") > 0)
        assert not p.beard.any() or (not p.female and p.age > 16)
        if p.family == 0:
            assert abs(p.faces.sum() - 1) < 1e-6 and female_donor(VALID[p.donor].name) == p.female
            own = VALID[p.donor].name in WIG_OWNERS
            assert not own or WIG_OWNERS[p.wig] == VALID[p.donor].name
        if p.family == 1 and p.style >= 0:
            assert STYLES[p.style].worn_by(p.female, p.race[0])


def test_everybody_is_there(crowd):
    families = [sum(p.family == f for p in crowd) / len(crowd) for f in range(3)]
    assert families[0] > 0.4 and families[1] > 0.2 and families[2] > 0.04
    skins = np.array([p.skin @ [0.3, 0.6, 0.1] for p in crowd])
    assert (skins < 0.08).mean() > 0.08 and (skins > 0.4).mean() > 0.15
    ages = np.array([p.age for p in crowd])
    assert (ages < 15).mean() > 0.03 and (ages > 60).mean() > 0.05
    for name in EXPRESSIONS:
        assert any(p.amount(name) > 0.3 for p in crowd), name
    assert any(p.glasses >= 0 for p in crowd) and any(p.hat >= 0 for p in crowd) and any(p.beard.any() for p in crowd)


def test_donors_kept_back_are_never_drawn_for_training(crowd):
    kept = sample_people(200, seed=5, held_out=True)
    for people, held_out in ((crowd, False), (kept, True)):
        for p in people:
            if p.family == 0:
                used = {VALID[p.donor].held_out} | {d.held_out for d, w in zip(VALID, p.faces, strict=True) if w > 0}
                assert used == {held_out}


def test_numbers_have_names_and_tell_people_apart(crowd):
    names = trait_names()
    assert len(set(names)) == len(names)
    p = next(p for p in crowd if p.family == 0 and p.glasses >= 0)
    found = dict(zip(names, numbers(p, np.arange(30.0)), strict=True))
    assert found["family.valid"] == 1 and found["family.makehuman"] == 0
    assert found[f"donor.{VALID[p.donor].name}"] == 1
    assert sum(v for n, v in found.items() if n.startswith("donor.")) == 1
    assert found["smile"] == pytest.approx(p.amount("smile"))
    assert found["skin.r"] == pytest.approx(np.sqrt(p.skin[0]))
    assert found["light.0r"] == 0 and found["light.key.z"] == 29
    older = dataclasses.replace(p, age=p.age + 5)
    assert [n for n, a, b in zip(names, numbers(p, DARK), numbers(older, DARK), strict=True) if a != b] == ["age"]


def test_w_is_a_linear_map_of_the_description(crowd):
    table = np.stack([numbers(p, np.random.default_rng(i).normal(size=30)) for i, p in enumerate(crowd)])
    standard = Standard.of(table)
    values = standard(table)
    assert values.shape == (400, len(standard.names)) and abs(float(values.mean())) < 0.05
    again = Standard.from_provenance(standard.to_provenance())
    assert np.allclose(again(table), values)
    w = styles_of(values, 256)
    assert w.shape == (400, 256)
    # Orthonormal: distances stay, in units of the spread.
    assert np.allclose(w.norm(dim=1), W_SPREAD * values.norm(dim=1), rtol=1e-4)
    mix = styles_of(0.3 * values[:1] + 0.7 * values[1:2], 256)
    assert np.allclose(mix, 0.3 * w[:1] + 0.7 * w[1:2], atol=1e-5)
    with pytest.raises(CheckpointError, match="which people"):
        Standard.from_provenance({"traits": ["smile"]})


def test_every_feature_has_its_opposite():
    assert opposite("nose/nose-hump-incr") == "nose/nose-hump-decr"
    assert opposite("eyes/l-eye-corner2-up") == "eyes/l-eye-corner2-down"
    assert opposite("eyes/l-eye-epicanthus-in") == "eyes/l-eye-epicanthus-out"
