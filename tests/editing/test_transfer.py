"""Transfer of parts: the invariants of editing.md §3.5, for cells and for points, for every seam."""

from __future__ import annotations

import copy

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.editing import (
    RECIPES,
    Recipe,
    ball,
    blend,
    complement,
    compose,
    half_space,
    region_mask,
    transfer,
    union,
)
from dualenc_core.editing.morphology import dilate, erode
from dualenc_core.editing.morphology import feather as soften
from dualenc_core.editing.seams import refined_fusion
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.inversion import stitch, visibility
from dualenc_core.point_weight import LabelVolume
from dualenc_core.triplane import TriplaneMask


class Fixed:
    """An encoder that answers with a head, whatever it is shown, and remembers the pictures."""

    def __init__(self, head):
        self.head, self.shown = head, []

    def encode(self, generator, image, camera, matte=None):
        self.shown.append(image)
        return self.head.map(lambda t: t[:1].expand(len(image), *t.shape[1:]))


def cells(value: float) -> TriplaneMask:
    return TriplaneMask(torch.full((1, 3, 3, 16, 16), value))


def outer(mask: TriplaneMask, recipe: Recipe) -> torch.Tensor:
    return soften(dilate(mask, recipe.grow), recipe.sigma, recipe.blur).mask


def inner(mask: TriplaneMask, recipe: Recipe) -> torch.Tensor:
    return soften(erode(mask, recipe.grow), recipe.sigma, recipe.blur).mask


@pytest.fixture(params=["feather", "implicit", "refine"])
def seam(request, heads):
    """Arguments of every seam."""
    extra = {"implicit": {"encoder": Fixed(heads[1])}, "refine": {"steps": 2, "samples": 8}}
    return {"seam": request.param, **extra.get(request.param, {})}


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_is_the_target_and_everything_the_reference(tiny, heads, seam, recipe):
    target, reference = heads
    for region in (cells(0.0), half_space((0, 0, 1), 2.0)):
        result = transfer(tiny, target, reference, region, recipe, **seam)
        assert torch.equal(result.planes, target.planes) and not result.overlays
    for region in (cells(1.0), half_space((0, 0, 1), -2.0)):
        result = transfer(tiny, target, reference, region, recipe, **seam)
        assert torch.equal(result.planes, reference.planes) and not result.overlays
        assert torch.equal(result.ws, target.ws)


def test_a_reference_that_is_the_target_changes_nothing(tiny, heads, seam, blob):
    for region in (blob, ball((0, 0, 0), 0.1)):
        result = transfer(tiny, heads[0], heads[0], region, **seam)
        assert torch.equal(result.planes, heads[0].planes) and not result.overlays


@pytest.mark.parametrize(("recipe", "match"), [*((recipe, None) for recipe in RECIPES), ("hair", "reference")])
def test_cells_outside_stay_and_cells_deep_inside_are_the_references(tiny, heads, seam, blob, recipe, match):
    target, reference = heads
    result = transfer(tiny, target, reference, blob, recipe, match=match, **seam)
    outside = TriplaneMask((outer(blob, RECIPES[recipe]) < 1e-6).float()).channels(4).bool().expand(target.planes.shape)
    assert outside.any() and torch.equal(result.planes[outside], target.planes[outside])
    inside = TriplaneMask((inner(blob, RECIPES[recipe]) > 1 - 1e-6).float()).channels(4).bool()
    inside = inside.expand(target.planes.shape)
    if RECIPES[recipe].paste and match is None and inside.any():
        assert torch.equal(result.planes[inside], reference.planes[inside])
    assert not torch.equal(result.planes, target.planes)
    assert torch.equal(result.ws, target.ws) and torch.isfinite(result.planes).all()


def test_a_hard_edge_is_the_mask_itself(tiny, heads, blob):
    target, reference = heads
    result = transfer(tiny, target, reference, blob, feather=0.0, match=None)
    inside = blob.channels(4).bool().expand(target.planes.shape)
    assert torch.equal(result.planes[inside], reference.planes[inside])
    assert torch.equal(result.planes[~inside], target.planes[~inside])


def test_shares_sum_to_one(tiny, heads, blob):
    # What the reference does not give comes from the target, so the complement with both swapped is the same head.
    target, reference = heads
    recipe = Recipe(grow=20, blur=40, sigma=20)
    one = transfer(tiny, target, reference, blob, recipe, match=None)
    other = transfer(tiny, reference, target, complement(blob), recipe, match=None)
    assert torch.allclose(one.planes, other.planes, atol=1e-5)
    assert not torch.equal(one.planes, target.planes)


def test_points_far_inside_and_outside(tiny, heads, somewhere):
    target, reference = heads
    region = ball((0.05, 0, 0), 0.15)
    result = transfer(tiny, target, reference, region, "eyes", match=None)
    distance = (somewhere - torch.tensor([0.05, 0, 0])).norm(dim=-1)
    got, first, second = (tiny.query(head, somewhere) for head in (result, target, reference))
    for i in range(2):
        far, near = distance > 0.25, distance < 0.08
        assert far.any() and near.any()
        assert torch.allclose(got[i][far], first[i][far], atol=1e-5)
        assert torch.allclose(got[i][near], second[i][near], atol=1e-5)


def test_implicit_takes_only_what_its_view_shows(tiny, heads, blob):
    target, reference = heads
    third = target.map(lambda t: t.flip(0)).replace(planes=target.planes + 5)
    recipe = Recipe(grow=30, blur=0, sigma=0)
    encoder = Fixed(third)
    plain = transfer(tiny, target, reference, blob, recipe, match=None)
    filled = transfer(tiny, target, reference, blob, recipe, "implicit", encoder=encoder, match=None)
    assert len(encoder.shown) == 1 and encoder.shown[0].shape == (2, 3, 32, 32)
    band = TriplaneMask((outer(blob, recipe) - inner(blob, recipe)).expand(2, -1, -1, -1, -1)).channels(4) > 0
    changed = filled.planes != plain.planes
    assert changed.any() and not changed[~band].any()
    two = Camera.look_at([0, 180])
    transfer(tiny, target, reference, blob, recipe, "implicit", encoder=encoder, cameras=two, match=None)
    assert len(encoder.shown) == 3


def test_refining_approaches_what_is_shown(tiny, heads):
    wanted = heads[0]
    start = wanted.replace(ws=wanted.ws + 0.3 * heads[1].ws)
    views = Camera.look_at([0, 90])
    told = []

    def off(head) -> float:
        a, b = (tiny.render(t, views[0], 12, super_resolve=False) for t in (head, wanted))
        return float((a.alpha - b.alpha).square().mean() + (a.raw - b.raw).square().mean())

    def nowhere(points):
        return torch.zeros(points.shape[:2])

    # The joined head has the wanted planes, but style vectors that do not make them.
    made = refined_fusion(
        tiny, start, nowhere, views, steps=30, rate=0.05, stay=0.0, resolution=12, progress=lambda *p: told.append(p)
    )
    assert off(made.replace(ws=wanted.ws)) < 0.5 * off(tiny.synthesize(start.ws).replace(ws=wanted.ws))
    assert told == [(i, 30) for i in range(1, 31)]
    assert not made.planes.requires_grad


def test_in_inference_mode(tiny, heads, seam, blob):
    with torch.inference_mode():
        target, reference = (head.map(torch.clone) for head in heads)
        result = transfer(tiny, target, reference, blob, **seam)
    assert torch.isfinite(result.planes).all()


def test_stitched_heads_keep_their_overlays(tiny, heads, blob, somewhere):
    first, second = heads
    camera = Camera.look_at([0, 30])
    target = stitch(first, second, visibility(tiny, first, camera, resolution=16))
    donor = stitch(second, first, visibility(tiny, second, camera.mirrored, resolution=16))
    far = somewhere.norm(dim=-1) > 0.3
    near = somewhere.abs().amax(-1) < 0.1
    assert far.any() and near.any()
    whole = target.map(torch.clone)
    region = ball((0, 0, 0), 0.24)
    result = compose(target, donor, region, 1.0)
    for i, (got, mine, other) in enumerate(
        zip(*(tiny.query(h, somewhere) for h in (result, whole, donor)), strict=True)
    ):
        assert torch.allclose(got[far], mine[far], atol=1e-5), i
        # Weights of overlays are baked on a grid.
        assert (got[near] - other[near]).abs().mean() < 0.05 * other[near].abs().mean(), i
    # The same by cells that are 1 around the centre in all planes.
    cube = blob.mask.expand(2, -1, -1, -1, -1)
    result = compose(target, donor, TriplaneMask(cube), 1.0)
    assert len(result.overlays) == 2
    assert torch.isfinite(tiny.query(result, somewhere)[0]).all()
    ends = [compose(target, donor, TriplaneMask(torch.full_like(cube, v)), 1.0) for v in (0.0, 1.0)]
    assert ends[0] is target and ends[1].overlays == donor.overlays
    with pytest.raises(DualEncError, match="give box="):
        compose(target, donor, TriplaneMask(cube))


def test_the_part_alone(tiny, heads, blob):
    # Of a thin part only its difference to the reference without it is added.
    target, reference = heads
    without = reference.replace(planes=reference.planes - 0.25)
    recipe = Recipe(grow=0, blur=0, sigma=0, gain=2.0)
    result = transfer(tiny, target, reference, blob, recipe, without=without, match=None)
    inside = blob.channels(4).bool().expand(target.planes.shape)
    assert torch.allclose((result.planes - target.planes)[inside], torch.tensor(0.5), atol=1e-5)


def test_a_batch_is_its_heads_one_by_one(tiny, heads, blob):
    target, reference = heads
    both = transfer(tiny, target, reference, blob, match=None)
    for i in range(2):
        assert torch.equal(transfer(tiny, target[i], reference[i], blob, match=None).planes, both.planes[i : i + 1])
    one = transfer(tiny, target, reference[0], blob, match=None)
    assert torch.equal(one.planes[:1], both.planes[:1]) and not torch.equal(one.planes[1:], both.planes[1:])


def test_what_was_done_is_said_in_meta(tiny, heads, blob):
    result = transfer(tiny, heads[0], heads[1].replace(meta={"photo": "b"}), blob, "nose", feather=0.5, match=None)
    said = result.meta["transfer"]
    assert (said["recipe"], said["seam"], said["feather"], said["reference"]) == (
        "nose",
        "feather",
        0.5,
        {"photo": "b"},
    )


def test_bad_input(tiny, heads, blob):
    target, reference = heads
    for change, message in (
        ({"recipe": "ears"}, "recipe is 'ears', expected one of eyes"),
        ({"seam": "magic"}, "seam is 'magic'"),
        ({"match": "all"}, "match is 'all'"),
        ({"seam": "implicit"}, "needs an encoder"),
        ({"feather": -1.0}, "feather is -1"),
        ({"region": TriplaneMask(torch.zeros(1, 3, 3, 8, 8))}, "region has shape"),
        ({"region": TriplaneMask(torch.full((1, 3, 3, 16, 16), 1.5))}, "from 1.5 to 1.5, expected 0..1"),
        ({"region": TriplaneMask(torch.full((1, 3, 3, 16, 16), float("nan")))}, "without NaN"),
        ({"region": TriplaneMask(torch.zeros(3, 3, 3, 16, 16))}, "region has shape"),
        ({"region": LabelVolume(torch.ones(3, 1, 4, 4, 4))}, "region is a batch of 3"),
        ({"region": torch.zeros(1)}, "region is a Tensor"),
        ({"reference": reference.replace(planes=reference.planes * float("nan"))}, "the reference has NaN"),
        ({"reference": reference.map(lambda t: t.repeat(2, *[1] * (t.ndim - 1))[:3])}, "the reference is a batch of 3"),
        ({"seam": "refine", "steps": 0}, "steps is 0"),
    ):
        arguments = {"region": blob, "reference": reference, **change}
        with pytest.raises(DualEncError, match=message):
            transfer(tiny, target, **arguments)
    with pytest.raises(GeneratorMismatchError, match="the reference by beef"):
        transfer(tiny, target, reference.replace(generator="beef"), blob)
    with pytest.raises(GeneratorMismatchError, match="made by generator beef"):
        transfer(tiny, target.replace(generator="beef"), reference.replace(generator="beef"), blob)
    with pytest.raises(GeneratorMismatchError, match="the region was made with generator beef"):
        transfer(tiny, target, reference, TriplaneMask(blob.mask, {"generator": "beef"}))


def test_a_mask_remembers_its_generator_through_a_file_and_a_union(tiny, heads, tmp_path):
    mask = region_mask(tiny, heads[0][0], torch.ones(1, 8, 8), Camera.look_at(), resolution=8)
    assert mask.meta["generator"] == tiny.fingerprint
    loaded = TriplaneMask.load(mask.save(tmp_path / "mask.safetensors"))
    joined = union(loaded, TriplaneMask(torch.zeros_like(mask.mask)))
    transfer(tiny, heads[0][0], heads[1][0], joined)
    with pytest.raises(GeneratorMismatchError, match=f"the weight was made with generator {tiny.fingerprint}"):
        blend(heads[0][0].replace(generator="beef"), heads[1][0].replace(generator="beef"), joined, 1.0)
    with pytest.raises(GeneratorMismatchError, match="use one generator for all"):
        union(loaded, TriplaneMask(mask.mask, {"generator": "beef"}))


@pytest.mark.parametrize("seam", ["feather", "refine"])
def test_a_generator_that_was_moved_in_inference_mode(tiny, heads, blob, seam):
    # ComfyUI moves networks to the device in that mode, and tensors made in it can have no gradients.
    moved = copy.deepcopy(tiny)
    with torch.inference_mode():
        moved.to(torch.float64).to(torch.float32)
    assert moved.w_avg.is_inference()
    options = {"seam": seam, "steps": 2, "samples": 8}
    plain, made = (transfer(g, *heads, blob, **options) for g in (tiny, moved))
    assert torch.allclose(made.planes, plain.planes, atol=1e-4)
