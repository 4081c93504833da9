from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import ball, blend, interpolate
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.inversion import stitch, visibility
from dualenc_core.triplane import TriplaneMask


@pytest.fixture
def stitched(tiny, heads):
    """Two batches of stitched heads, seen from different sides."""
    first, second = heads
    a = stitch(first, second, visibility(tiny, first, Camera.look_at([0, 30]), resolution=16))
    return a, stitch(second, first, visibility(tiny, second, Camera.look_at([-40, 10]), resolution=16))


def test_ends_are_the_heads_bit_by_bit(heads, stitched):
    for first, second in (heads, stitched, (stitched[0], heads[1]), (heads[0], stitched[1])):
        for weight, end in ((0, first), (1.0, second)):
            result = blend(first, second, weight)
            assert torch.equal(result.planes, end.planes) and torch.equal(result.ws, end.ws)
            assert result.overlays == end.overlays


def test_between(heads):
    first, second = heads
    result = blend(first, second, 0.25)
    assert torch.allclose(result.planes, 0.75 * first.planes + 0.25 * second.planes, atol=1e-5)
    assert torch.allclose(result.ws, 0.75 * first.ws + 0.25 * second.ws, atol=1e-5)
    each = blend(first, second, torch.tensor([0.0, 1.0]))
    assert torch.equal(each.planes[0], first.planes[0]) and torch.equal(each.planes[1], second.planes[1])
    assert torch.allclose(blend(second, first, 0.75).planes, result.planes, atol=1e-5)


def test_between_stitched_heads(tiny, heads, stitched, somewhere):
    plain, (first, second) = heads[1], stitched
    # Near the ends the blend is near the heads, though their weights in space differ.
    for a, b in ((first, second), (first, plain), (plain, first)):
        for weight, end in ((1e-3, a), (1 - 1e-3, b)):
            got, wanted = tiny.query(blend(a, b, weight), somewhere)[1], tiny.query(end, somewhere)[1]
            assert (got - wanted).abs().mean() < 0.05 * wanted.abs().mean()
    assert len(blend(first, plain, 0.5).overlays) == 1
    # The same weight on both sides stays as it is.
    same = blend(first, first.replace(planes=plain.planes), 0.5)
    assert same.overlays[0].weight is first.overlays[0].weight


def test_by_a_region(tiny, heads, blob, somewhere):
    first, second = heads
    result = blend(first, second, blob)
    inside = blob.channels(4).bool().expand(first.planes.shape)
    assert torch.equal(result.planes[inside], second.planes[inside])
    assert torch.equal(result.planes[~inside], first.planes[~inside])
    assert torch.equal(result.ws, first.ws)
    region = ball((0, 0, 0), 0.2)
    got, a, b = (tiny.query(head, somewhere)[1] for head in (blend(first, second, region), first, second))
    assert torch.allclose(got, torch.lerp(a, b, region(somewhere[:1])), atol=1e-5) or torch.allclose(
        got, torch.lerp(a, b, region.map(lambda t: t.expand(2, -1, -1, -1, -1))(somewhere)), atol=1e-5
    )


def test_a_path(heads):
    first, second = heads[0][0], heads[1][0]
    path = list(interpolate([first, second, heads[0][1]], 5))
    assert len(path) == 5 and all(len(head) == 1 for head in path)
    for i, head in ((0, first), (2, second), (4, heads[0][1])):
        assert torch.equal(path[i].planes, head.planes)
    assert torch.allclose(path[1].planes, (first.planes + second.planes) / 2, atol=1e-5)
    loop = list(interpolate(heads[0], 4, loop=True))
    assert torch.equal(loop[0].planes, heads[0][0].planes) and torch.equal(loop[2].planes, heads[0][1].planes)
    assert torch.allclose(loop[1].planes, loop[3].planes, atol=1e-5)
    # Slow near the heads.
    soft, even = (list(interpolate(heads[0], 9, smooth=smooth))[1].planes for smooth in (True, False))
    assert (soft - heads[0][0].planes).norm() < 0.5 * (even - heads[0][0].planes).norm()


def test_through_styles(tiny, heads):
    first, second = heads[0][0].replace(planes=heads[0][0].planes + 0.1), heads[0][1]
    path = list(interpolate([first, second], 3, space="styles", generator=tiny))
    assert torch.equal(path[0].planes, first.planes) and torch.equal(path[2].planes, second.planes)
    ws = (first.ws + second.ws) / 2
    assert torch.allclose(path[1].ws, ws, atol=1e-6)
    # The generator's own head there, and half of what the first had besides.
    assert torch.allclose(path[1].planes, tiny.synthesize(ws).planes + 0.05, atol=1e-4)


def test_only_one_frame_is_made_at_a_time(heads):
    path = interpolate(heads[0], 1_000_000)
    assert torch.equal(next(path).planes, heads[0][0].planes)


def test_bad_input(heads):
    first, second = heads
    for weight in (1.5, -0.1, float("nan"), torch.zeros(3)):
        with pytest.raises(DualEncError, match="weight is"):
            blend(first, second, weight)
    with pytest.raises(GeneratorMismatchError, match="the second by beef"):
        blend(first, second.replace(generator="beef"), 0.5)
    with pytest.raises(DualEncError, match="weight has shape"):
        blend(first, second, TriplaneMask(torch.zeros(1, 3, 3, 8, 8)))
    for call, message in (
        (lambda: interpolate([first[0]], 3), "1 head"),
        (lambda: interpolate([first, second], 3), "single ones"),
        (lambda: interpolate(first, 0), "frames is 0"),
        (lambda: interpolate(first, 3, space="z"), "space is 'z'"),
        (lambda: interpolate(first, 3, space="styles"), "needs the generator"),
    ):
        with pytest.raises(DualEncError, match=message):
            call()
