"""How exact meshes are and what they cost: ``python -m tests.benchmarks.meshes``.

Two kinds of rows. "field": procedural heads themselves, whose surface and colours are known everywhere, meshed and
coloured from exact pictures: the error of this package alone. "weights": heads of a generator that was trained on
procedural heads (the demo), against the heads that their latents describe: what a user gets, with the generator's own
error. Of other generators only the cost and the agreement with their own rendered depth are known.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError, require
from dualenc_core.export.density_grid import surface_density
from dualenc_core.export.mesh import Mesh, extract_mesh
from dualenc_core.export.mesh_colour import ColourViews, colour_cameras, colour_mesh, colour_views, views_of
from dualenc_core.export.texture import bake_texture
from dualenc_core.generator import GeneratorConfig, PanoHead, SuperResolutionConfig
from dualenc_core.generator.loading import load_generator
from dualenc_core.rendering.rays import camera_rays
from dualenc_core.rendering.renderer import RenderOptions
from dualenc_core.triplane import Triplane
from tests.stylised import GENERATOR

# Raw density per world unit of distance; what the demo generator has learnt at its surfaces.
SLOPE = 5000.0
COLUMNS = (
    "kind", "faces", "closed", "distance", "95 %", "back", "normal °", "colour", "depth", "mesh s", "colour s",
)  # fmt: skip
LEGEND = """distance, 95 %: mean and 95th percentile of |signed distance| of vertices to the true surface, world units;
back: mean distance of true visible surface points to the nearest vertex; normal: mean angle; colour: mean absolute
error of vertices in 8-bit levels; depth: mean of vertex minus rendered depth where a view looks straight on."""


class FieldGenerator(PanoHead):
    """A generator whose density is known: a signed distance in place of the decoder. Triplanes are carried unread."""

    distance: Callable[[Tensor], Tensor]
    colour: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def build(
        cls, distance: Callable[[Tensor], Tensor], colour: Callable[[Tensor], Tensor] | None = None, box: float = 0.8
    ) -> tuple[FieldGenerator, Triplane]:
        """The generator and a triplane to use with it.

        Args:
            distance: points [1,M,3] → signed distance [1,M], negative inside.
            colour: points [1,M,3] → colours [1,M,3] in -1..1; None = grey.
            box: side of its box in world units; the last 0.1 on each side in x and z is cropped.
        """
        sr = SuperResolutionConfig(input_resolution=8, hidden_widths=(8, 8), w_dim=16)
        config = GeneratorConfig(
            z_dim=8, w_dim=16, plane_size=8, features=4, channel_base=64, channel_max=8, torgb_raw=False,
            background=False, render=RenderOptions(samples=24, importance=24, near=2.28, far=3.12, box_warp=box), sr=sr,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            generator = cls(config).eval().requires_grad_(False)
        generator.distance, generator.colour = distance, colour
        planes = torch.zeros(1, 3, config.plane_channels, config.plane_size, config.plane_size)
        ws = torch.zeros(1, config.num_ws, config.w_dim)
        return generator, Triplane(planes, ws, config.plane_depth, generator.fingerprint)

    def query(self, triplane: Triplane, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density that falls off linearly through the surface, and the colour as the first three features."""
        sigma = surface_density(self.config.render) - SLOPE * self.distance(points)
        features = points.new_zeros(*points.shape[:2], self.config.features)
        if self.colour is not None:
            features[..., :3] = self.colour(points)
        return sigma[..., None], features


@dataclass(frozen=True)
class Truth:
    """Errors against a procedural head, as in LEGEND."""

    distance: float
    high: float
    back: float
    normal: float
    colour: float


@torch.no_grad()
def compare(mesh: Mesh, head: procedural.Heads) -> Truth:
    """Errors of a coloured mesh against the one head that it shows."""
    points, chunk = mesh.vertices, 1 << 16
    signed, normals, colours = [], [], []
    for part in points.split(chunk):
        d = procedural.signed_distance(head, part[None])[0]
        n = procedural.surface_normal(head, part[None])[0]
        signed.append(d)
        normals.append(n)
        colours.append(procedural.colour(head, (part - n * d[:, None])[None])[0])
    error = torch.cat(signed).abs()
    cosine = (torch.cat(normals) * mesh.normals).sum(-1).clamp(-1, 1)
    off = (mesh.colours - torch.cat(colours)).abs().mean()
    return Truth(
        float(error.mean()),
        float(error.kthvalue(max(1, round(0.95 * len(error)))).values),
        _back(mesh, head),
        float(torch.rad2deg(torch.acos(cosine)).mean()),
        float(off * 255),
    )


def _back(mesh: Mesh, head: procedural.Heads) -> float:
    """Mean distance of what 6 views see of a head to the nearest vertex."""
    camera = Camera.orbit(6)
    origins, directions = camera_rays(camera, 48)
    hits = procedural.trace(head[[0] * len(camera)], origins, directions)
    surface = (origins + hits.depth[..., None] * directions)[hits.alpha > 0]
    tree = require("scipy.spatial", "scipy").cKDTree(mesh.vertices.numpy())
    return float(tree.query(surface.numpy())[0].mean())


@torch.no_grad()
def depth_offset(generator: PanoHead, triplane: Triplane, mesh: Mesh) -> float:
    """Mean of vertex minus rendered depth, in world units, over front and back, where the view looks straight on."""
    camera = Camera.look_at(yaw=[0.0, 180.0])
    depth = generator.render(triplane, camera, super_resolve=False).depth
    offsets = []
    for i in range(len(camera)):
        position = camera.position[i]
        away = mesh.vertices - position
        facing = -(torch.nn.functional.normalize(away, dim=-1) * mesh.normals).sum(-1)
        uv, _ = camera[i].project(mesh.vertices[None])
        rendered = torch.nn.functional.grid_sample(depth[i : i + 1], uv[:, None] * 2 - 1, align_corners=False)[0, 0, 0]
        offset = away.norm(dim=-1) - rendered
        offsets.append(offset[(facing > 0.9) & (offset.abs() < 0.05) & (uv[0] > 0).all(-1) & (uv[0] < 1).all(-1)])
    return float(torch.cat(offsets).mean())


def measure_field(head: procedural.Heads, resolution: int, picture: int, texture: int = 0) -> list[str]:
    """A row of the table for one procedural head as a field."""
    generator, triplane = FieldGenerator.build(lambda points: procedural.signed_distance(head, points))
    camera = colour_cameras()

    def views() -> ColourViews:
        return views_of(procedural.render(head, camera, picture, antialias=1), camera)

    return _row("field", generator, triplane, resolution, views, head, texture)


def measure_weights(
    generator: PanoHead, triplane: Triplane, resolution: int, head: procedural.Heads | None, texture: int = 0
) -> list[str]:
    """A row of the table for one head of a generator; ``head`` is the truth where it is known."""
    return _row("weights", generator, triplane, resolution, lambda: colour_views(generator, triplane), head, texture)


def _row(
    kind: str,
    generator: PanoHead,
    triplane: Triplane,
    resolution: int,
    views: Callable[[], ColourViews],
    head: procedural.Heads | None,
    texture: int,
) -> list[str]:
    start = time.perf_counter()
    mesh = extract_mesh(generator, triplane, resolution)
    middle = time.perf_counter()
    pictures = views()
    mesh = colour_mesh(generator, triplane, mesh, pictures)
    if texture:
        bake_texture(mesh, pictures, texture)
    end = time.perf_counter()
    closed = require("trimesh", "trimesh").Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    depth = depth_offset(generator, triplane, mesh)
    if head is None:
        errors = ["–"] * 5
    else:
        truth = compare(mesh, head)
        errors = [f"{truth.distance:.5f}", f"{truth.high:.5f}", f"{truth.back:.5f}"]
        errors += [f"{truth.normal:.2f}", f"{truth.colour:.2f}"]
    seconds = [f"{middle - start:.1f}", f"{end - middle:.1f}"]
    return [kind, str(len(mesh.faces)), "yes" if closed else "no", *errors, f"{depth:+.4f}", *seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default=GENERATOR, help="a file, or demo (default: the stylised one)")
    parser.add_argument("--heads", type=int, default=2, help="of each kind (default: 2)")
    parser.add_argument("--resolution", type=int, default=256, help="cells along the box (default: 256)")
    parser.add_argument("--picture", type=int, default=256, help="side of the exact pictures (default: 256)")
    parser.add_argument("--texture", type=int, default=0, help="also bake a texture of this size, within colour s")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    try:
        print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
        generator = load_generator(args.generator)
        z = torch.randn(args.heads, generator.config.z_dim, generator=torch.Generator().manual_seed(args.seed))
        known = generator.config.z_dim == procedural.LATENT_DIM
        for i in range(args.heads):
            head = procedural.sample_heads(1, args.seed + i)
            print(
                "| " + " | ".join(measure_field(head, args.resolution, args.picture, args.texture)) + " |", flush=True
            )
        for i in range(args.heads):
            with torch.no_grad():
                triplane = generator.synthesize(generator.mapping(z[i : i + 1]))
            head = procedural.heads_from_latent(z[i : i + 1]) if known else None
            row = measure_weights(generator, triplane, args.resolution, head, args.texture)
            print("| " + " | ".join(row) + " |", flush=True)
    except DualEncError as error:
        raise SystemExit(f"error: {error}") from None
    # Linux counts kilobytes, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(f"\n{LEGEND}")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.0f} MB")


if __name__ == "__main__":
    main()
