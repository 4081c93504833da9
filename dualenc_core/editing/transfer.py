"""A part of one head on another: hair, eyes, nose, mouth, glasses (paper §5.3, Fig. 10; editing.md §2.3, §3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..camera import Camera
from ..choices import MATCHES, SEAMS
from ..errors import DualEncError
from ..generator import PanoHead
from ..inversion.dual_encoder import Encoder
from ..inversion.fitting import free_copy
from ..inversion.occlusion import occlusion_mask, visibility
from ..point_weight import LabelVolume
from ..triplane import Triplane, TriplaneMask
from .alignment import Alignment, align_head, fit_alignment
from .checks import Region, check_pair, fit_region
from .compose import BAKED, bake, complement, compose, intersection, read_region, same_weight
from .lifting import Progress
from .morphology import dilate, erode
from .morphology import feather as soften
from .regions import ring
from .seams import implicit_fusion, refined_fusion
from .statistics import Wish, fit_colours, region_statistics

# Width, in cells of a 256-cell plane, of what counts as the surroundings of a region.
_AROUND = 24


@dataclass(frozen=True)
class Recipe:
    """How a region meets its surroundings; sizes in cells of a 256-cell plane (editing.md §2.3).

    Attributes:
        grow: the region shrinks and grows by this much; what lies between is the seam.
        blur: reach of the blur that follows.
        sigma: of the blur.
        paste: the shrunk region is the reference's; False leaves all of it to what fills the seam.
        gain: factor on the difference of the reference to ``without`` (see `transfer`).
    """

    grow: float
    blur: float
    sigma: float
    paste: bool = True
    gain: float = 1.5

    def scaled(self, factor: float) -> Recipe:
        """Narrower or wider seams; 0 = a hard edge."""
        if not factor >= 0:
            raise DualEncError(f"feather is {factor}, expected 0 (a hard edge) or more; 1 = as the recipe says")
        return replace(self, grow=self.grow * factor, blur=self.blur * factor, sigma=self.sigma * factor)


# A kernel of k cells reaches (k - 1) / 2.
RECIPES: Mapping[str, Recipe] = {
    "eyes": Recipe(grow=5, blur=4, sigma=2),
    "mouth": Recipe(grow=5, blur=10, sigma=2),
    "nose": Recipe(grow=5, blur=10, sigma=9, paste=False),
    "glasses": Recipe(grow=1, blur=15, sigma=9),
    "hair": Recipe(grow=5, blur=10, sigma=11),
}


def transfer(
    generator: PanoHead,
    target: Triplane,
    reference: Triplane,
    region: Region,
    recipe: str | Recipe = "hair",
    seam: str = "feather",
    *,
    feather: float = 1.0,
    align: Alignment | Literal["face"] | None = None,
    match: str | None = "reference",
    without: Triplane | None = None,
    encoder: Encoder | None = None,
    cameras: Camera | None = None,
    steps: int = 40,
    samples: int | tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Triplane:
    """The target with the region taken from the reference.

    With E the shrunk and D the grown region, both blurred: reference · E + seam · (D − E) + target · (1 − D).

    Args:
        target: N heads; their ws drive colours, super-resolution and background.
        reference: N heads, or one.
        region: a TriplaneMask mixes cells into plain tri-grids; a PointWeight blends points as overlays (precise). For
            hair give the `union` of both heads' hair.
        recipe: a name of `RECIPES`, or widths of your own.
        seam: "feather" mixes both heads there; "implicit" uses what ``encoder`` makes of a picture of the mixed head,
            where that picture shows it; "refine" uses the head of the generator's family that is nearest to the mixed
            head in several views.
        feather: factor on the recipe's widths; 0 = a hard edge.
        align: bring the reference onto the target first: "face" fits the faces, or a given `Alignment`.
        match: which colours the region gets. The target's last style row changes what features look like, so they are
            changed to fit, with the density they have. "reference": the reference's colours; "surroundings": those,
            but what the reference has around the region, its skin, takes the target's tone; "region": the target's own
            colours there, in mean and deviation; None: whatever the features look like.
        without: the reference without the part, for thin things: the reference is then target + gain · (reference −
            without).
        encoder: for "implicit".
        cameras: for "implicit" the views that are encoded, default the front; for "refine" the views that are compared,
            default `ring(6)`.
        steps: of "refine".
        samples: samples a ray while looking; None = the generator's.
        progress: called as progress(steps done, steps) by "refine".

    Returns N heads. A region that is 0 everywhere gives the target back bit by bit, one that is 1 everywhere the
    (aligned) reference with the target's ws, and a reference that equals the target changes nothing; cells outside D
    are the target's, bit by bit.

    Raises GeneratorMismatchError for heads of other generators; DualEncError for batches, shapes or ranges that do not
    fit, NaN, an unknown recipe, seam or match, a missing encoder, or no surface in the region or around it;
    NoFaceError from "face".

    Example:
        >>> import dualenc_core as dc
        >>> from dualenc_core.editing import transfer
        >>> generator = dc.PanoHead.from_config(
        ...     {"channel_max": 16, "sr_kwargs": {"input_resolution": 8, "hidden_widths": (8, 8)}},
        ...     {"triplane_size": 16, "triplane_depth": 3, "feature_channels": 4},
        ... )  # tiny, untrained
        >>> heads = generator.synthesize(generator.mapping(generator.latents(seed=0, count=2)))
        >>> from dualenc_core.editing import half_space
        >>> back = half_space((0, 0, -1), size=16)
        >>> result = transfer(generator, heads[0], heads[1], back, "hair", match=None)
        >>> len(result.overlays), result.ws.equal(heads[0].ws)
        (1, True)
    """
    widths = _recipe(recipe).scaled(feather)
    _check_options(seam, match, encoder)
    generator.check(target)
    reference = check_pair(target, reference)
    region = fit_region(region, target)
    box = generator.config.render.box_warp
    if not isinstance(region, TriplaneMask | LabelVolume):
        region = bake(region, len(target), BAKED, box, target.planes)
    done = {
        "recipe": recipe if isinstance(recipe, str) else asdict(recipe),
        "seam": seam,
        "feather": feather,
        "match": match,
        "target": dict(target.meta),
        "reference": dict(reference.meta),
    }
    meta = {"transfer": done}
    # Where nothing is joined there is no seam, whatever would fill it.
    if _same(target, reference):
        return target.replace(meta=meta)
    if align is not None:
        align = fit_alignment(generator, reference, target) if align == "face" else align
        reference = align_head(reference, align, box)
        done["align"] = {"scale": align.scale.tolist(), "shift": align.shift.tolist()}
    shares = _Shares.of(region, widths)
    if shares.trivial:
        return compose(target, reference, region, box).replace(meta=meta)
    with torch.inference_mode(False):
        # Colours and some seams are found by gradients.
        generator = free_copy(generator)
    if without is not None:
        reference = _with_part(target, reference, check_pair(target, without, ("target", "without")), widths.gain)
    if match is not None:
        reference = _matched(generator, target, reference, region, match, samples)
    joined = compose(target, reference, shares.reference(), box)
    if seam == "feather":
        return joined.replace(meta=meta)
    if seam == "implicit":
        assert encoder is not None
        filling, seen = _implicit(generator, joined, encoder, cameras, region)
        if match is not None and _styled(generator, filling, target):
            filling = fit_colours(generator, filling, target.ws, [Wish(region)], samples).apply(filling)
    else:
        views, band = ring(6) if cameras is None else cameras, shares.wrap(shares.seam)

        def at_seam(points: Tensor) -> Tensor:
            return read_region(band, points, box)

        filling = refined_fusion(generator, joined, at_seam, views, steps=steps, samples=samples, progress=progress)
        seen = torch.ones_like(shares.seam)
    filled = compose(target, reference, shares.reference(seen), box)
    return compose(filled, filling, shares.filling(seen), box).replace(meta=meta)


def _matched(
    generator: PanoHead,
    target: Triplane,
    reference: Triplane,
    region: TriplaneMask | LabelVolume,
    match: str,
    samples: int | tuple[int, int] | None,
) -> Triplane:
    """The reference with features that look right under the target's ws."""
    if match == "region":
        wishes = [Wish(region, region_statistics(generator, target, region, samples=samples))]
    elif match == "surroundings":
        around = intersection(dilate(region, _AROUND), complement(region))
        wishes = [Wish(region), Wish(around, region_statistics(generator, target, around, samples=samples))]
    elif _styled(generator, reference, target):
        wishes = [Wish(region)]
    else:
        return reference
    return fit_colours(generator, reference, target.ws, wishes, samples).apply(reference)


def _styled(generator: PanoHead, first: Triplane, second: Triplane) -> bool:
    """Whether the same features look different on the two heads."""
    return generator.config.torgb_raw and not torch.equal(first.ws[:, -1], second.ws[:, -1])


@dataclass(frozen=True)
class _Shares:
    """Who gives how much of each cell or place: tensors of the region's shape.

    Attributes:
        region: as it was given.
        inner, outer: E and D.
    """

    region: TriplaneMask | LabelVolume
    inner: Tensor
    outer: Tensor

    @classmethod
    def of(cls, region: TriplaneMask | LabelVolume, widths: Recipe) -> _Shares:
        outer = _values(soften(dilate(region, widths.grow), widths.sigma, widths.blur))
        inner = _values(soften(erode(region, widths.grow), widths.sigma, widths.blur))
        outer = _snap(outer)
        return cls(region, torch.minimum(_snap(inner), outer) if widths.paste else torch.zeros_like(outer), outer)

    @property
    def trivial(self) -> bool:
        low, high = _values(self.region).aminmax()
        return bool((low == high) & ((low == 0) | (low == 1)))

    @property
    def seam(self) -> Tensor:
        return self.outer - self.inner

    def filling(self, seen: Tensor) -> TriplaneMask | LabelVolume:
        """Of the head that fills the seam, where it is ``seen`` (0..1)."""
        return self.wrap(self.seam * seen)

    def reference(self, seen: Tensor | None = None) -> TriplaneMask | LabelVolume:
        """Of the reference in what the filling leaves; the seam outside of it is mixed by the region itself."""
        filled = torch.zeros_like(self.seam) if seen is None else self.seam * seen
        share = self.inner + (self.seam - filled) * _values(self.region)
        return self.wrap(torch.where(filled < 1, share / (1 - filled).clamp_min(1e-6), share).clamp(0, 1))

    def wrap(self, values: Tensor) -> TriplaneMask | LabelVolume:
        if isinstance(self.region, TriplaneMask):
            return TriplaneMask(values, self.region.meta)
        return LabelVolume(values, self.region.box)


def _implicit(
    generator: PanoHead,
    joined: Triplane,
    encoder: Encoder,
    cameras: Camera | None,
    region: TriplaneMask | LabelVolume,
) -> tuple[Triplane, Tensor]:
    """What the encoder makes of the joined head, and how much of it the views show, in the region's shape."""
    cameras = (Camera.look_at() if cameras is None else cameras).to(joined.planes.device)
    filling: Triplane | None = None
    seen = torch.zeros_like(_values(region))
    for v in range(len(cameras)):
        made = implicit_fusion(generator, joined, encoder, cameras[v])
        if isinstance(region, TriplaneMask):
            shown = 1 - occlusion_mask(generator, joined, cameras[v]).mask
        else:
            weight = visibility(generator, joined, cameras[v])
            shown = bake(weight, len(joined), region.volume.shape[-1], region.box, joined.planes).volume
        seen = seen + shown
        share = _Shares(region, shown, shown).wrap(torch.where(shown > 0, shown / seen.clamp_min(1e-6), shown))
        filling = made if filling is None else compose(filling, made, share)
    assert filling is not None  # cameras hold one view at least
    return filling, seen.clamp(max=1)


def _with_part(target: Triplane, reference: Triplane, without: Triplane, gain: float) -> Triplane:
    if reference.overlays or without.overlays:
        raise DualEncError("'without' needs plain heads, and one carries overlays; stitch by cells, or leave it out")
    return target.replace(planes=target.planes + gain * (reference.planes - without.planes), overlays=())


def _values(region: TriplaneMask | LabelVolume) -> Tensor:
    return region.mask if isinstance(region, TriplaneMask) else region.volume


def _snap(values: Tensor) -> Tensor:
    # The taps of a blur sum to one only up to rounding; inside and outside of the seam nothing may change.
    values = torch.where(values > 1 - 1e-5, torch.ones_like(values), values)
    return torch.where(values < 1e-5, torch.zeros_like(values), values)


def _same(target: Triplane, reference: Triplane) -> bool:
    if len(target.overlays) != len(reference.overlays) or not torch.equal(target.planes, reference.planes):
        return False
    return all(
        torch.equal(a.planes, b.planes) and same_weight(a.weight, b.weight)
        for a, b in zip(target.overlays, reference.overlays, strict=True)
    )


def _recipe(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise DualEncError(f"recipe is {recipe!r}, expected one of {', '.join(RECIPES)}, or a Recipe")
    return RECIPES[recipe]


def _check_options(seam: str, match: str | None, encoder: Encoder | None) -> None:
    if seam not in SEAMS:
        raise DualEncError(f"seam is {seam!r}, expected one of {', '.join(SEAMS)}")
    if match is not None and match not in MATCHES:
        raise DualEncError(f"match is {match!r}, expected one of {', '.join(MATCHES)}, or None")
    if seam == "implicit" and encoder is None:
        raise DualEncError("seam 'implicit' needs an encoder; load one with load_encoder, or use 'feather'")
