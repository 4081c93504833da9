"""How well parts are found and carried over, against procedural heads whose parts are known.

    python -m tests.benchmarks.editing regions [--heads 6] [--plane-size 256]
    python -m tests.benchmarks.editing transfer [--pairs 3] [--generator FILE --encoder FILE] [--sheet out.png]

"regions" needs no weights: an analytic field stands for the generator. It prints which share of the hair's surface and
of the face's surface, over 360°, is replaced when hair is: mean weight, and share of the points with a weight of at
least a half. "transfer" puts the hair of one head on another and compares with the head that really has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.editing.checks import Region
from dualenc_core.editing.completion import complete_views
from dualenc_core.editing.compose import read_region, union
from dualenc_core.editing.regions import region_mask, region_volume, ring
from dualenc_core.editing.transfer import transfer
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.metrics import pictures as metrics
from dualenc_core.procedural import Part
from dualenc_core.rendering.output import Rendering
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.research.evaluation.agreement import surface_points
from dualenc_core.research.evaluation.procedural import FIRST_TEST_SEED
from dualenc_core.triplane import Triplane
from tests.stylised import ENCODER_1, GENERATOR

FACE = (Part.SKIN, Part.EYES, Part.BROWS, Part.LIPS, Part.BEARD)
# What makes the hair of a procedural head.
HAIR = (
    "hair", "hair_length", "curl", "fringe", "parting", "bun", "ponytail", "hair_colour",
    "strand", "strand_angle", "strand_colour", "stripes",
)  # fmt: skip
_SETTINGS = ("1 frontal view", "1 frontal view, completed", "4 ring views", "8 ring views", "4 ring views, precise")


class AnalyticHeads(PanoHead):
    """Procedural heads in place of a network; the first cell of a tri-grid says which head it is.

    Args:
        heads: all there are.
        plane_size: of the tri-grid cells that masks are made for.
        coloured: also give colours, which costs five times as much.
    """

    STEEPNESS = 1e5

    def __init__(self, heads: procedural.Heads, plane_size: int = 64, coloured: bool = True) -> None:
        config = GeneratorConfig(
            z_dim=8, w_dim=8, plane_size=plane_size, features=3, channel_base=plane_size, channel_max=4,
            torgb_raw=False, background=False, neural_resolution=64,
            render=RenderOptions(samples=36, importance=20, near=2.3, far=3.1),
            sr=SuperResolutionConfig(input_resolution=8, hidden_widths=(4, 4), w_dim=8),
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            super().__init__(config)
        self.eval().requires_grad_(False)
        self.heads, self.coloured = heads, coloured

    def head(self, index: int) -> Triplane:
        """The tri-grid that stands for a head."""
        config = self.config
        planes = torch.full((1, 3, config.plane_channels, config.plane_size, config.plane_size), float(index))
        return Triplane(planes, torch.zeros(1, config.num_ws, config.w_dim), config.plane_depth, self.fingerprint)

    def _decode(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        heads = self.heads[planes[:, 0, 0, 0, 0].round().long()]
        if self.coloured:
            distance, colour = procedural.field(heads, points)
        else:
            distance, colour = procedural.signed_distance(heads, points), torch.zeros_like(points)
        return (1 - self.STEEPNESS * distance).clamp(-50, 2000)[..., None], colour


@dataclass(frozen=True)
class Coverage:
    """Of the hair's and of the face's surface: mean weight, and share with a weight of at least ½."""

    hair: float
    face: float
    hair_replaced: float
    face_replaced: float

    @classmethod
    def of(cls, region: Region, points: Tensor, labels: Tensor, box: float) -> Coverage:
        """Points [M,3] on the surface with their `Part` labels [M]."""
        weight = read_region(region, points[None], box)[0]
        hair, face = labels == Part.HAIR, torch.isin(labels, torch.tensor(FACE))
        values = (weight[hair].mean(), weight[face].mean(), *((weight[w] >= 0.5).float().mean() for w in (hair, face)))
        return cls(*map(float, values))


@torch.no_grad()
def part_masks(head: procedural.Heads, cameras: Camera, resolution: int, part: Part = Part.HAIR) -> Tensor:
    """What a perfect segmentation would say: [V,r,r] of 0 and 1."""
    masks = []
    for v in range(len(cameras)):
        origins, directions = camera_rays(cameras[v], resolution)
        hits = procedural.trace(head, origins, directions)
        labels = procedural.parts(head, origins + hits.depth[..., None] * directions)
        masks.append(((labels == part) & (hits.alpha > 0.5)).float().reshape(resolution, resolution))
    return torch.stack(masks)


def haired(count: int, seed: int, details: bool = False, shaved: bool = False) -> procedural.Heads:
    """The first ``count`` heads of a seed that have hair, and, ``shaved``, no beard, which has the hair's colour."""
    heads = procedural.sample_heads(16 * count, seed, details)
    beard = 0.05 if shaved else 1.0
    return heads[[i for i in range(len(heads)) if heads.hair[i] > 0.6 and heads.beard[i] <= beard][:count]]


@torch.no_grad()
def measure_regions(
    heads: int = 6,
    plane_size: int = 256,
    seed: int = FIRST_TEST_SEED,
    resolution: int = 96,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Coverage]:
    """Means over heads for every way of making a hair region, from true masks."""
    found = haired(heads, seed, details=True)
    generator = AnalyticHeads(found, plane_size, coloured=False)
    coloured = AnalyticHeads(found, plane_size)
    coloured._fingerprint = generator.fingerprint
    box = generator.config.render.box_warp
    rows: dict[str, list[Coverage]] = {name: [] for name in _SETTINGS}
    for i in range(len(found)):
        points, exist = surface_points(found[i], 8, 32)
        points = points[:, exist[0]]
        labels = procedural.parts(found[i], points)[0]
        head, front, four, eight = generator.head(i), ring(1), ring(4), ring(8)
        masks = part_masks(found[i], eight, resolution)
        small = min(resolution, 64)
        completed = complete_views(coloured, head, masks[:1], front, resolution=small)
        regions = (
            region_mask(generator, head, masks[:1], front, resolution=resolution),
            region_mask(generator, head, *completed, resolution=small),
            region_mask(generator, head, masks[::2], four, resolution=resolution),
            region_mask(generator, head, masks, eight, resolution=resolution),
            region_volume(generator, head, masks[::2], four, resolution=resolution),
        )
        for name, region in zip(_SETTINGS, regions, strict=True):
            rows[name].append(Coverage.of(region, points[0], labels, box))
        if progress is not None:
            progress(i + 1, len(found))
    return {name: _mean(values) for name, values in rows.items()}


@torch.no_grad()
def measure_transfer(
    generator: PanoHead,
    encoder,
    pairs: int = 3,
    seed: int = FIRST_TEST_SEED,
    views: int = 8,
    steps: int = 40,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, list[float]], list[list[Tensor]]]:
    """PSNR (dB, peak 2) against the head that really has the hair: name → [whole picture, on the head].

    Heads are the generator's own for latents that no training drew; masks are those of the procedural heads.

    Returns the table, and the pictures [V,3,s,s] of each pair by row: target, donor, feather, truth.
    """
    heads = haired(2 * pairs, seed, shaved=True)
    around, four = ring(views), ring(4)
    sums: dict[str, list[Tensor]] = {}
    pictures = []
    for k in range(pairs):
        person, donor = heads[2 * k], heads[2 * k + 1]
        truth = procedural.render(dressed(person, donor), around, 128)
        target, reference = (generator.synthesize(generator.mapping(h.latent)) for h in (person, donor))
        painted = [part_masks(h, four, 96) for h in (person, donor)]
        cells, volume = (
            union(*(lift(generator, t, m, four) for t, m in zip((target, reference), painted, strict=True)))
            for lift in (region_mask, region_volume)
        )
        edits = {
            "the target itself": target,
            "hard edge": transfer(generator, target, reference, cells, feather=0.0),
            "feather": transfer(generator, target, reference, cells),
            "feather, precise": transfer(generator, target, reference, volume),
            "feather, features as they are": transfer(generator, target, reference, cells, match=None),
            "feather, skin matched": transfer(generator, target, reference, cells, match="surroundings"),
            "implicit": transfer(generator, target, reference, cells, seam="implicit", encoder=encoder),
            "refine": transfer(generator, target, reference, cells, seam="refine", steps=steps),
        }
        shown = {}
        for name, head in edits.items():
            shown[name] = _picture(generator, head, around)
            sums.setdefault(name, []).append(_psnr(shown[name], truth))
        own = procedural.render(person, around, 128)
        sums.setdefault("no edit: the target against its own truth", []).append(_psnr(shown["the target itself"], own))
        pictures.append(
            [shown["the target itself"], _picture(generator, reference, around), shown["feather"], truth.image]
        )
        if progress is not None:
            progress(k + 1, pairs)
    return {name: torch.stack(values).mean(0).tolist() for name, values in sums.items()}, pictures


@torch.no_grad()
def measure_analytic_transfer(pairs: int = 3, seed: int = FIRST_TEST_SEED, views: int = 8) -> dict[str, list[float]]:
    """The same for the precise form with analytic fields as heads: what it could reach if networks were exact."""
    heads = haired(2 * pairs, seed, shaved=True)
    generator, around = AnalyticHeads(heads), ring(views)
    blind = AnalyticHeads(heads, coloured=False)
    blind._fingerprint = generator.fingerprint
    sums: dict[str, list[Tensor]] = {}
    for k in range(pairs):
        person, donor = heads[2 * k], heads[2 * k + 1]
        truth = procedural.render(dressed(person, donor), around, 64, background=(0.5, 0.5, 0.5))
        target, reference = generator.head(2 * k), generator.head(2 * k + 1)
        region = union(
            *(
                region_volume(blind, blind.head(i), part_masks(heads[i], ring(4), 96), ring(4))
                for i in (2 * k, 2 * k + 1)
            )
        )
        edits = {
            "the target itself": target,
            "hard edge, precise": transfer(generator, target, reference, region, feather=0.0),
            "feather, precise": transfer(generator, target, reference, region),
        }
        for name, head in edits.items():
            image = generator.render(head, around, 64, super_resolve=False).image
            sums.setdefault(name, []).append(_psnr(image, truth))
    return {name: torch.stack(values).mean(0).tolist() for name, values in sums.items()}


def dressed(person: procedural.Heads, donor: procedural.Heads) -> procedural.Heads:
    """The person with the donor's hair."""
    return person.replace(**{name: getattr(donor, name) for name in HAIR})


def _picture(generator: PanoHead, head: Triplane, cameras: Camera) -> Tensor:
    image = generator.render(head, cameras, background=procedural.BACKDROP).image.clamp(-1, 1)
    return F.adaptive_avg_pool2d(image, 128) if image.shape[-1] > 128 else image


def _psnr(image: Tensor, truth: Rendering) -> Tensor:
    """[2]: of whole pictures, and on the head; means over views."""
    return torch.stack([metrics.psnr(image, truth.image).mean(), metrics.psnr(image, truth.image, truth.alpha).mean()])


def _mean(rows: list[Coverage]) -> Coverage:
    names = ("hair", "face", "hair_replaced", "face_replaced")
    return Coverage(*(sum(getattr(row, name) for row in rows) / len(rows) for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("regions", "transfer"))
    parser.add_argument("--seed", type=int, default=FIRST_TEST_SEED, help="of the heads")
    parser.add_argument("--heads", type=int, default=6, help="regions: number of heads (default: 6)")
    parser.add_argument("--plane-size", type=int, default=256, help="regions: cells along a plane (default: 256)")
    parser.add_argument("--pairs", type=int, default=3, help="transfer: number of pairs (default: 3)")
    parser.add_argument("--steps", type=int, default=40, help="transfer: steps of the refined seam (default: 40)")
    parser.add_argument("--generator", default=GENERATOR, help="transfer: a file (default: the stylised one)")
    parser.add_argument("--encoder", default=ENCODER_1, help="transfer: file (default: the stylised Encoder 1)")
    parser.add_argument("--sheet", metavar="FILE", help="transfer: also write a picture of all pairs")
    args = parser.parse_args()

    def progress(done: int, total: int) -> None:
        print(f"{done} of {total}", flush=True)

    if args.what == "regions":
        table = measure_regions(args.heads, args.plane_size, args.seed, progress=progress)
        print(f"{'':<30} mean weight: hair, face   replaced: hair, face")
        for name, row in table.items():
            weights, shares = f"{row.hair:.3f}  {row.face:.3f}", f"{row.hair_replaced:.3f}  {row.face_replaced:.3f}"
            print(f"{name:<30} {weights:>25}  {shares:>21}")
        return
    from dualenc_core.encoders import load_encoder
    from dualenc_core.generator.loading import load_generator

    analytic = measure_analytic_transfer(args.pairs, args.seed)
    generator, encoder = load_generator(args.generator), load_encoder(args.encoder)
    table, pictures = measure_transfer(generator, encoder, args.pairs, args.seed, steps=args.steps, progress=progress)
    for title, rows in (("analytic fields", analytic), (f"generator {args.generator}", table)):
        print(f"\n{title:<44} PSNR dB: whole, on the head")
        for name, values in rows.items():
            print(f"{name:<44} {values[0]:14.2f} {values[1]:12.2f}")
    if args.sheet:
        _save_sheet(args.sheet, pictures)


def _save_sheet(path: str, pictures: list[list[Tensor]]) -> None:
    from dualenc_core.export import contact_sheet, save_png

    rows = [list(row) for pair in pictures for row in pair]
    labels = [f"{name} {k + 1}" for k in range(len(pictures)) for name in ("target", "donor", "transfer", "truth")]
    save_png(contact_sheet(rows, labels, cell=128), path)


if __name__ == "__main__":
    main()
