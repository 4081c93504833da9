"""Plain background that a matte holds is let go; busy background, the face and what is unlike it stay."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.portrait.leaks import without_leaks

SIZE = 256
HEAD = (slice(60, 220), slice(90, 180))
LEAK = (slice(120, 200), slice(60, 90))


@pytest.fixture
def crop():
    """A bright head before a dark plain wall."""
    picture = torch.full((1, 3, SIZE, SIZE), 0.05)
    picture[(..., *HEAD)] = 0.7
    return picture


@pytest.fixture
def matte():
    """The head, and some of the wall beside it."""
    held = torch.zeros(1, 1, SIZE, SIZE)
    held[(..., *HEAD)] = 1
    held[(..., *LEAK)] = 1
    return held


def inner(part, by=6):
    return tuple(slice(s.start + by, s.stop - by) for s in part)


def test_plain_background_goes_and_the_head_stays(crop, matte):
    found = without_leaks(crop, matte)
    assert found[(..., *inner(LEAK))].max() < 0.02
    assert found[(..., *inner(HEAD, 4))].min() > 0.98


def test_no_line_is_left_between_leak_and_background(crop, matte):
    matte[..., LEAK[0], 50:60] = 0.3  # as soft as segmentation is
    assert without_leaks(crop, matte)[..., inner(LEAK)[0], :80].max() < 0.05


def test_busy_background_changes_nothing(crop, matte):
    noise = 0.2 * torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    busy = torch.where(crop < 0.1, crop + noise, crop)
    assert torch.equal(without_leaks(busy, matte), matte)


def test_the_face_stays_whatever_its_colour(crop, matte):
    dark = torch.full_like(crop, 0.05)
    face = torch.zeros_like(matte)
    face[(..., *HEAD)] = 1
    found = without_leaks(dark, matte, face)
    assert found[(..., *inner(HEAD, 4))].min() > 0.98
    assert found[(..., *inner(LEAK))].max() < 0.02


def test_far_from_the_background_nothing_goes(crop, matte):
    held = torch.zeros_like(matte)
    held[..., 20:, 20:240] = 1
    found = without_leaks(torch.full_like(crop, 0.05), held)
    assert found[..., 150:, 125:135].min() > 0.98


def test_without_background_there_is_nothing_to_compare(crop, matte):
    everything = torch.ones_like(matte)
    assert torch.equal(without_leaks(crop, everything), everything)
