"""The matte is what several framings of a crop agree on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dualenc_core.portrait import matting

SIZE = matting.INPUT


@pytest.fixture
def crop():
    return torch.rand(2, 3, 300, 300, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("values", "expected"), [((1, 0, 0), 0), ((0, 1, 1), 1), ((0.2, 0.9, 0.4), 0.4)])
def test_the_median_of_the_framings_counts(monkeypatch, crop, values, expected):
    answers = iter(values)
    monkeypatch.setattr(matting, "load_graph", lambda *_: lambda image: [torch.full_like(image[:, :1], next(answers))])
    matte = matting.person_matte(crop, refine=False)
    assert matte.shape == (2, 1, 300, 300) and torch.allclose(matte, torch.tensor(float(expected)))


def test_a_framing_shows_the_crop_smaller_and_the_answer_is_as_large_as_the_crop(monkeypatch, crop):
    seen = []

    def run(image):
        seen.append(image)
        # It answers with what it sees: the framed picture itself.
        return [image[:, :1]]

    monkeypatch.setattr(matting, "load_graph", lambda *_: run)
    found = matting.person_matte(crop, refine=False)
    assert [tuple(image.shape) for image in seen] == [(2, 3, SIZE, SIZE)] * len(matting.FRAMINGS)
    assert not torch.equal(seen[0], seen[1])
    small = F.interpolate(crop[:, :1], size=(SIZE, SIZE), mode="bilinear", antialias=True)
    smooth = F.avg_pool2d(small, 16)
    again = F.interpolate(found, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    assert (F.avg_pool2d(again, 16) - smooth).abs().max() < 0.03
