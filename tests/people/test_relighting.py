"""Light of descriptions: what is asked changes by as much as is asked, and it is the light that would shine so."""

from __future__ import annotations

import numpy as np
import pytest

from dualenc_core.people.light import make_light
from dualenc_core.people.relighting import LIGHT_TRAITS, LIGHTING, even_light, read_light, relit
from dualenc_core.people.vectors import COSINE, harmonics, unit


def lit(turn: float = 0.0, level: float = 1.0, key: float = 0.55, warmth: float = 0.0) -> np.ndarray:
    """Light [1,30] of a sky that is bright on one side."""
    sh = np.zeros((9, 3))
    sh[:4] = [[2.5] * 3, [0.9, 1.0, 1.1], [1.2, 1.1, 1.0], [0.2, 0.2, 0.2]]
    sh[4:] = np.array([[0.04], [-0.03], [0.05], [0.02], [-0.06]])
    return make_light(sh, np.ones((4, 8, 3)), turn, level, key, warmth).numbers[None].astype(np.float64)


def test_light_is_read_in_natural_units():
    assert len(LIGHT_TRAITS) == 30
    plain, turned = read_light(lit()), read_light(lit(np.radians(40)))
    assert abs((turned["light_yaw"] - plain["light_yaw"])[0] - 40) < 0.02
    assert read_light(lit(key=0.9))["light_softness"][0] < plain["light_softness"][0] < 1
    assert 0 < plain["light_pitch"][0] < 90
    stronger, warmer = read_light(lit(level=2.0)), read_light(lit(warmth=0.5))
    assert abs((stronger["light_strength"] - plain["light_strength"])[0] - 1) < 1e-3
    assert abs((warmer["light_warmth"] - plain["light_warmth"])[0] - 0.5) < 0.1


def test_turned_light_is_the_light_of_a_turned_environment():
    # As bright on a face as before, so up to a factor.
    turned, made = (
        n[0, [*range(1, 27, 3), 27, 28, 29]] for n in (relit(lit(), {"light_yaw": 70.0}), lit(np.radians(70)))
    )
    assert np.allclose(turned / turned[0], made / made[0], atol=2e-3)
    sh, back = lit(), relit(relit(lit(), {"light_yaw": 130.0, "light_pitch": 20.0}), {"light_pitch": -20.0})
    assert np.allclose(relit(back, {"light_yaw": -130.0})[:, 27:], sh[:, 27:], atol=1e-9)


@pytest.mark.parametrize("name", LIGHTING)
def test_one_thing_changes_by_what_is_asked(name):
    light = np.concatenate([lit(turn) for turn in (0.3, 2.0, -1.0)])
    before = read_light(light)
    amount = {"light_yaw": -35.0, "light_pitch": -12.0, "light_softness": 0.1}.get(name, 0.4)
    after = read_light(relit(light, {name: amount}))
    for other in LIGHTING:
        moved = after[other] - before[other]
        moved = (moved + 180) % 360 - 180 if other == "light_yaw" else moved
        assert np.allclose(moved, amount if other == name else 0, atol=1e-6), other


def test_pitch_and_softness_stop_at_their_ends():
    high = read_light(relit(lit(), {"light_pitch": 90.0}))
    assert abs(high["light_pitch"][0] - 89.9) < 1e-3
    soft = relit(lit(), {"light_softness": 0.9})
    assert np.allclose(soft[:, 27:], 0) and np.isclose(read_light(soft)["light_softness"][0], 1)
    # And comes back with the direction of what is brightest.
    assert read_light(relit(soft, {"light_softness": -0.3}))["light_softness"][0] == pytest.approx(0.7)


def test_even_light_is_white_without_sides_and_as_bright():
    light = np.concatenate([lit(1.0, 0.8), lit(2.0, 1.3)])
    even = even_light(light)
    read = read_light(even)
    assert np.allclose(read["light_yaw"], 0) and np.allclose(read["light_warmth"], 0)
    assert np.allclose(read["light_softness"], 1)

    def on_face(numbers: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Irradiance over pi, green, of a card."""
        sh = numbers[:, :27].reshape(-1, 9, 3)[..., 1]
        return sh @ (harmonics(normal) * COSINE[:, 0]) + np.maximum(numbers[:, 27:] @ normal, 0)

    left, right = (unit(np.array([x, 0.35, 0.9])) for x in (-0.3, 0.3))
    assert np.allclose(on_face(even, left), on_face(even, right))
    both = [(on_face(numbers, left) + on_face(numbers, right)) / 2 for numbers in (light, even)]
    assert np.allclose(both[0], both[1], rtol=1e-6)
