"""Spoiling pictures: reproducible, in range, and never the truth's business."""

from __future__ import annotations

import numpy as np

from dualenc_core.people.photos import Tone, _backlit, background, photographed, random_tone, spoiled_matte

SIZE = 64


def disc() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    alpha = (np.hypot(x, y) < 0.3).astype(np.float32)
    return alpha[..., None] * np.array([0.7, 0.5, 0.4], np.float32), alpha


def test_a_photo_is_the_same_for_the_same_dice():
    colour, alpha = disc()
    one, two = (photographed(colour, alpha, np.random.default_rng(4)) for _ in range(2))
    assert (one.image == two.image).all() and (one.matte == two.matte).all()


def test_photos_stay_in_range_and_vary():
    colour, alpha = disc()
    photos = [photographed(colour, alpha, np.random.default_rng(i), np.random.default_rng(9).random((SIZE, SIZE, 3)))
              for i in range(60)]  # fmt: skip
    for photo in photos:
        assert photo.image.shape == (SIZE, SIZE, 3) and photo.matte.shape == (SIZE, SIZE)
        assert photo.image.dtype == photo.matte.dtype == np.float32
        assert 0 <= photo.image.min() and photo.image.max() <= 1 and 0 <= photo.matte.min() and photo.matte.max() <= 1
    off = [np.abs(p.matte - alpha).mean() for p in photos]
    # Some are right, many a little wrong, none is another picture.
    assert min(off) == 0 and np.mean(np.array(off) > 0.002) > 0.4 and max(off) < 0.25
    greys = [np.ptp(p.image, axis=-1).max() < 0.2 for p in photos]
    assert 0 < sum(greys) < 30


def test_tone_is_what_happened_to_colours():
    neutral = Tone(np.ones(3), np.zeros(3), 1.0, 0.0, np.ones(3))
    colours = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    assert np.allclose(neutral(colours), colours)
    grey = Tone(np.ones(3), np.zeros(3), 1.0, 1.0, np.ones(3))(colours)
    assert np.allclose(grey[:, 0], grey[:, 1]) and np.allclose(grey[:, 1], grey[:, 2])
    assert (Tone(np.full(3, 2.0), np.zeros(3), 1.0, 0.0, np.ones(3))(colours) >= colours).all()
    assert isinstance(random_tone(np.random.default_rng(1)), Tone)


def test_backgrounds_are_pictures():
    other = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    for i in range(20):
        behind = background(SIZE, np.random.default_rng(i), other)
        assert behind.shape == (SIZE, SIZE, 3) and 0 <= behind.min() and behind.max() <= 1


def test_mattes_keep_most_of_the_head():
    _, alpha = disc()
    for i in range(100):
        spoiled = spoiled_matte(alpha, np.random.default_rng(i))
        assert (spoiled * alpha).sum() > 0.6 * alpha.sum()


def test_light_from_behind_is_bright_on_the_outline_alone():
    colour, alpha = disc()
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    inside = np.hypot(x, y) < 0.16
    brighter = []
    for i in range(30):
        lit = _backlit(colour, alpha, np.random.default_rng(i))
        assert lit.dtype == np.float32 and (lit >= colour - 1e-6).all() and lit.max() <= 1
        assert np.abs(lit - colour)[inside].max() < 0.05 and np.abs(lit)[alpha == 0].max() == 0
        brighter.append((lit - colour).max())
    assert np.median(brighter) > 0.05
