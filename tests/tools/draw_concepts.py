"""The pictures of docs/concepts.md, drawn with procedural heads and the library's own masks; no weights are needed.

    python tests/tools/draw_concepts.py [names of pictures]

writes docs/pictures/<name>.png. Run it again when a definition changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dualenc_core import Camera, Rendering, TriplaneMask, procedural  # noqa: E402
from dualenc_core.inversion.occlusion import Surface, touched_cells  # noqa: E402
from dualenc_core.inversion.preview import hidden_share  # noqa: E402
from dualenc_core.point_weight import Visibility  # noqa: E402
from dualenc_core.rendering.rays import camera_rays  # noqa: E402

OUT = ROOT / "docs" / "pictures"
MOST_BYTES = 60_000
SIZE, SIDE_YAW = 112, 75.0
SEEN, HIDDEN, LINE = "#3b82c4", "#e0662f", "#333333"
# Of a plane, of a slice through the head, and the height of that slice: the eyes.
CELLS, FINE, HEIGHT = 64, 220, 0.03

# ---------------------------------------------------------------------------------------------------------- the head


@cache
def head(details: bool = True, colour: tuple[float, float, float] | None = None) -> procedural.Heads:
    one = procedural.sample_heads(6, seed=3, details=details)[5]
    one = one.replace(hair_length=0.6, bun=0.0, ponytail=0.0, hair=1.0)
    return one if colour is None else one.replace(hair_colour=colour)


@cache
def view(yaw: float = 0.0, details: bool = True, colour: tuple[float, float, float] | None = None) -> Rendering:
    return procedural.render(head(details, colour), Camera.look_at(yaw=yaw), SIZE, background=(1.0, 1.0, 1.0))


def surface(yaw: float = 0.0) -> Surface:
    camera, seen = Camera.look_at(yaw=yaw), view(yaw)
    origins, directions = camera_rays(camera, SIZE)
    return Surface(camera, origins + seen.depth.flatten(1)[..., None] * directions, seen.depth, seen.alpha)


def seen_from_the_front() -> Visibility:
    return Visibility(Camera.look_at(), view().depth, view().alpha)


def occluded_from_the_front() -> TriplaneMask:
    return TriplaneMask(1 - touched_cells(surface(), CELLS, 3, 1.0))


def horizontal_slice() -> tuple[Tensor, np.ndarray]:
    """World points [1,FINE²,3] at one height, rows from the back to the front; and what of them is head."""
    place = torch.linspace(-0.45, 0.45, FINE)
    z, x = torch.meshgrid(place, place, indexing="ij")
    points = torch.stack([x, torch.full_like(x, HEIGHT), z], -1).reshape(1, -1, 3)
    with torch.no_grad():
        inside = procedural.signed_distance(head(), points) <= 0
    return points, inside.reshape(FINE, FINE).numpy()


# -------------------------------------------------------------------------------------------------------- how to draw


def figure(columns: int, width: float = 7.6, height: float = 2.2, **options) -> tuple[Figure, list[Axes]]:
    drawn, axes = plt.subplots(1, columns, figsize=(width, height), **options)
    axes = [axes] if columns == 1 else list(axes)
    for ax in axes:
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_visible(False)
    return drawn, axes


def picture(ax: Axes, image: Tensor | np.ndarray, title: str, **options) -> None:
    """[3,H,W] in -1..1, or [H,W]."""
    if isinstance(image, Tensor) and image.ndim == 3:
        image = (image.permute(1, 2, 0).clamp(-1, 1) / 2 + 0.5).numpy()
    ax.imshow(image, interpolation="nearest", **options)
    ax.set_title(title, fontsize=8)


def box(ax: Axes, x: float, y: float, text: str, back: str, ink: str = LINE) -> None:
    patch = {"boxstyle": "round,pad=0.35", "facecolor": back, "edgecolor": LINE, "linewidth": 0.8}
    ax.text(x, y, text, ha="center", va="center", fontsize=8, bbox=patch, color=ink)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = LINE) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def mixture(share: np.ndarray) -> np.ndarray:
    """Colours [H,W,3] between what is seen (0) and hidden (1)."""
    ends = [np.array(matplotlib.colors.to_rgb(colour)) for colour in (SEEN, HIDDEN)]
    return ends[0] + (ends[1] - ends[0]) * share[..., None]


# ---------------------------------------------------------------------------------------------------------- pictures


def tri_grid() -> Figure:
    drawn = plt.figure(figsize=(7.6, 2.9))
    point = np.array([0.55, 0.25, 0.7])
    for i, (name, fine, deep) in enumerate((("xy", (0, 1), 2), ("xz", (0, 2), 1), ("yz", (1, 2), 0))):
        ax = drawn.add_subplot(1, 3, i + 1, projection="3d")
        near = np.argsort(abs(np.array([-2 / 3, 0, 2 / 3]) - point[deep]))[:2]
        for k, at in enumerate((-2 / 3, 0, 2 / 3)):
            a, b = np.meshgrid([-1, 1], [-1, 1])
            sheet = [None] * 3
            sheet[fine[0]], sheet[fine[1]], sheet[deep] = a, b, np.full_like(a, at, dtype=float)
            # World z comes towards the reader, y goes up.
            ax.plot_surface(
                sheet[0],
                sheet[2],
                sheet[1],
                alpha=0.35 if k in near else 0.1,
                color=SEEN,
                edgecolor=LINE,
                linewidth=0.5,
            )
            if k in near:
                foot = point.copy()
                foot[deep] = at
                ax.plot(*zip(point[[0, 2, 1]], foot[[0, 2, 1]], strict=True), ":", color=HIDDEN, linewidth=1.2)
                ax.scatter(*foot[[0, 2, 1]], marker="s", s=14, color=HIDDEN)
        ax.scatter(*point[[0, 2, 1]], color=LINE, s=22)
        ax.set_xlabel("x", labelpad=-14, fontsize=8)
        ax.set_ylabel("z", labelpad=-14, fontsize=8)
        ax.set_zlabel("y", labelpad=-14, fontsize=8)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_zticks([])
        ax.invert_yaxis()
        ax.view_init(elev=18, azim=-62)
        ax.set_title(f"plane {name}: fine in {name[0]} and {name[1]},\n3 slices along {'xyz'[deep]}", fontsize=8)
    drawn.subplots_adjust(left=0, right=0.98, bottom=0.02, top=0.88, wspace=0.02)
    return drawn


def w_plus() -> Figure:
    drawn, (ax,) = figure(1, height=1.9)
    rows, blocks = range(14), [4, 8, 16, 32, 64, 128, 256]
    colours = plt.cm.viridis(np.linspace(0.15, 0.95, len(blocks)))
    for row in rows:
        block = 0 if row == 0 else min((row + 1) // 2, 6)
        ax.add_patch(plt.Rectangle((row, 1.6), 0.86, 0.7, facecolor=colours[block], edgecolor=LINE, linewidth=0.6))
        ax.text(row + 0.43, 1.95, str(row), ha="center", va="center", fontsize=8, color=("white", LINE)[block > 2])
    for i, resolution in enumerate(blocks):
        first = 0 if i == 0 else 2 * i - 1
        middle = first + (0.43 if i == 0 else 0.93)
        arrow(ax, (middle, 1.55), (middle, 0.95))
        box(ax, middle, 0.55, f"{resolution}²", matplotlib.colors.to_hex(colours[i]), ("white", LINE)[i > 2])
    ax.text(13.43, 1.28, "row 13:\nlast to-planes layer,\nsuper-resolution", ha="center", va="top", fontsize=7)
    for x, text in ((1.8, "shape of the head"), (6.4, "face and hair"), (10.9, "colours, fine detail")):
        ax.text(x, 2.5, text, ha="center", fontsize=8)
    ax.set_xlim(-0.3, 14.6)
    ax.set_ylim(0.1, 2.85)
    drawn.subplots_adjust(left=0.01, right=0.99, bottom=0, top=1)
    return drawn


def camera() -> Figure:
    drawn, axes = figure(5, height=1.95, gridspec_kw={"width_ratios": [1.75, 1, 1, 1, 1]})
    points, inside = horizontal_slice()
    plan, *renders = axes
    plan.contourf(points[0, :FINE, 0], points[0, :FINE, 0], inside, levels=[0.5, 1.5], colors=["#d9b08c"])
    for yaw in (0, 45, 90, 180):
        place = Camera.look_at(yaw=yaw)
        x, _, z = place.position[0].tolist()
        _, edge = camera_rays(place, 2)
        for ray in edge[0, :2]:
            plan.plot([x, x + 2.9 * float(ray[0])], [z, z + 2.9 * float(ray[2])], color=SEEN, linewidth=0.5, alpha=0.6)
        plan.plot(x, z, "o", color=SEEN, markersize=4)
        plan.text(1.28 * x, 1.2 * z, f"{yaw}°", ha="center", va="center", fontsize=8)
    arrow(plan, (0, 0), (1.2, 0))
    arrow(plan, (0, 0), (0, 1.2))
    plan.text(1.35, -0.1, "+x", fontsize=8, va="center")
    plan.text(0.12, 1.25, "+z", fontsize=8, ha="left")
    plan.add_patch(plt.Circle((0, 0), 2.7, fill=False, linestyle=":", color=LINE, linewidth=0.8))
    plan.set_xlim(-3.5, 3.7)
    # Towards the reader is down, as one looks at a plan of a room.
    plan.set_ylim(3.6, -3.6)
    plan.set_aspect("equal")
    plan.set_title("from above; radius 2.7", fontsize=8)
    for ax, yaw in zip(renders, (0, 45, 90, 180), strict=True):
        picture(ax, view(yaw).image[0], f"yaw {yaw}°")
    drawn.subplots_adjust(left=0, right=1, bottom=0.02, top=0.88, wspace=0.02)
    return drawn


def alpha_and_matte() -> Figure:
    drawn, axes = figure(4)
    seen = view()
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    wall = torch.stack([torch.sin(x / 5.0), torch.cos(y / 7.0), torch.sin((x + y) / 9.0)]) * 0.6
    # The picture has white behind the head: straight colours first, then another background.
    straight = (seen.image[0] - (1 - seen.alpha[0])) / seen.alpha[0].clamp(min=1e-3)
    plain = torch.full_like(wall, 0.55)
    picture(axes[0], torch.lerp(wall, straight, seen.alpha[0]), "photo")
    picture(axes[1], seen.alpha[0, 0].numpy(), "matte of the photo\n(found, or given)", cmap="gray", vmin=0, vmax=1)
    picture(axes[2], torch.lerp(plain, straight, seen.alpha[0]), "what is inverted:\nthe head on a plain colour")
    turned = view(SIDE_YAW).alpha[0, 0].numpy()
    picture(axes[3], turned, "alpha of a render, from\nanywhere", cmap="gray", vmin=0, vmax=1)
    drawn.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.82, wspace=0.06)
    return drawn


def occlusion_mask() -> Figure:
    drawn, axes = figure(4, height=2.05)
    picture(axes[0], view().image[0], "the photo's view")
    mask = occluded_from_the_front().mask[0, 0]
    for ax, k, name in zip(axes[1:], (2, 1, 0), ("front", "middle", "back"), strict=True):
        # Row 0 of a plane is the lowest.
        picture(ax, mixture(mask[k].flip(0).numpy()), f"plane xy, {name} slice")
    drawn.text(0.63, 0.02, "blue: cells that the photo shows      orange: occluded", ha="center", fontsize=8)
    drawn.subplots_adjust(left=0.01, right=0.99, bottom=0.1, top=0.9, wspace=0.06)
    return drawn


def visibility_and_overlay() -> Figure:
    drawn, axes = figure(3, height=2.5)
    points, inside = horizontal_slice()
    weight = seen_from_the_front()
    share = weight(points).reshape(FINE, FINE).numpy()
    picture(axes[0], mixture(1 - share), "visibility w(p), from above\n(the camera is below)")
    axes[0].contour(inside, levels=[0.5], colors="white", linewidths=1.2)
    for ax, yaw in zip(axes[1:], (40.0, 110.0), strict=True):
        there = surface(yaw)
        hidden = 1 - weight(there.points)[0, :, 0].reshape(SIZE, SIZE)
        grey = view(yaw).image[0].mean(0, keepdim=True).expand(3, -1, -1)
        tint = torch.from_numpy(mixture(hidden.numpy())).permute(2, 0, 1).float() * 2 - 1
        picture(ax, torch.lerp(grey, tint, 0.55 * there.alpha[0]), f"which tri-grid answers,\nseen from yaw {yaw:.0f}°")
    drawn.text(
        0.5, 0.02, "blue: the head itself (Encoder 1)      orange: its overlay (Encoder 2)", ha="center", fontsize=8
    )
    drawn.subplots_adjust(left=0.01, right=0.99, bottom=0.08, top=0.84, wspace=0.04)
    return drawn


def stitching() -> Figure:
    drawn, axes = figure(3, height=2.45)
    points, inside = horizontal_slice()
    with torch.no_grad():
        cells = hidden_share(occluded_from_the_front(), points, 1.0).reshape(FINE, FINE).numpy()
        apart = 1 - seen_from_the_front()(points).reshape(FINE, FINE).numpy()
    for ax, share, title in ((axes[0], cells, "by cells"), (axes[1], apart, "by points")):
        shown = np.where(inside[..., None], mixture(share), 1.0)
        picture(ax, shown, f"{title}: how much Encoder 2 says\n(slice at the eyes, face below)")
        ax.set_xlim(FINE * 0.2, FINE * 0.8)
        ax.set_ylim(FINE * 0.75, FINE * 0.15)
    depth = np.linspace(0.0, 0.16, 80)
    column = FINE // 2
    rows = np.flatnonzero(inside[:, column])
    front = points.reshape(FINE, FINE, 3)[rows[-1], column, 2].item()
    line = torch.stack([torch.zeros(80), torch.full((80,), HEIGHT), torch.from_numpy(front - depth).float()], -1)[None]
    axes[2].plot(depth, hidden_share(occluded_from_the_front(), line, 1.0)[0], color=LINE, label="cells")
    axes[2].plot(depth, 1 - seen_from_the_front()(line)[0, :, 0], color=HIDDEN, label="points")
    axes[2].set_xticks([0, 0.08, 0.16])
    axes[2].set_yticks([0, 1])
    axes[2].tick_params(labelsize=7)
    for side in ("left", "bottom"):
        axes[2].spines[side].set_visible(True)
    axes[2].legend(fontsize=7, frameon=False)
    axes[2].set_title("the same along a ray,\nfrom the nose inwards", fontsize=8)
    drawn.subplots_adjust(left=0.01, right=0.98, bottom=0.09, top=0.84, wspace=0.1)
    return drawn


def hidden_colours() -> Figure:
    drawn, axes = figure(4, height=2.1)
    other = (0.32, 0.17, 0.08)
    there = surface(SIDE_YAW)
    seen = seen_from_the_front()(there.points)[0, :, 0].reshape(SIZE, SIZE)
    theirs, ours = view(SIDE_YAW, True, other).image[0], view(SIDE_YAW).image[0]
    picture(axes[0], view().image[0], "photo")
    picture(axes[1], theirs, "Encoder 2: another hue\nof hair")
    picture(axes[2], torch.lerp(theirs, ours, seen), "stitched, strength 0:\na border around the head")
    picture(axes[3], ours, "strength 1: the change that the\nphoto made, made everywhere")
    drawn.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.82, wspace=0.04)
    return drawn


def two_stage_encoder() -> Figure:
    drawn, axes = figure(4, height=2.6)
    photo, first = view().image[0], view(details=False).image[0]
    picture(axes[0], photo, "photo")
    picture(axes[1], first, "stage one: style vectors W+,\nthe nearest head that the\ngenerator knows")
    picture(
        axes[2], ((photo - first).abs().mean(0) / 2).numpy(), "what is wrong with it\n(photo − render)", cmap="magma"
    )
    picture(axes[3], photo, "stage two: corrects\nthe tri-grid itself")
    for i, text in enumerate(("→", "−", "→")):
        drawn.text(0.2525 + 0.2475 * i, 0.42, text, ha="center", va="center", fontsize=16)
    drawn.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.78, wspace=0.16)
    return drawn


def pti() -> Figure:
    drawn, axes = figure(3, height=2.15)
    x = np.linspace(0, 4, 200)
    curve = 0.9 + 0.45 * np.sin(1.3 * x)
    goal, pivot, start = np.array([2.6, 1.55]), 2.45, 0.6
    at = {name: np.array([v, 0.9 + 0.45 * np.sin(1.3 * v)]) for name, v in (("start", start), ("pivot", pivot))}
    bent = curve + (goal[1] - at["pivot"][1]) * np.exp(-(((x - goal[0]) / 0.28) ** 2))
    titles = (
        "heads that the generator knows,\nand the photo",
        "W+ optimisation: along them",
        "PTI: they are bent to the photo",
    )
    for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        ax.plot(x, curve, color=SEEN, linewidth=1.6, alpha=0.35 if i == 2 else 1)
        ax.plot(*goal, "*", color=HIDDEN, markersize=11)
        if i == 0:
            ax.text(goal[0] + 0.14, goal[1], "photo", fontsize=8, va="center")
            ax.plot(*at["start"], "o", color=LINE)
            ax.text(at["start"][0], at["start"][1] + 0.14, "average head", fontsize=8, ha="center")
        if i == 1:
            way = np.linspace(start, pivot, 5)
            for a, b in zip(way, way[1:], strict=False):
                arrow(ax, (a, 0.9 + 0.45 * np.sin(1.3 * a)), (b, 0.9 + 0.45 * np.sin(1.3 * b)))
            ax.text(pivot + 0.1, at["pivot"][1] - 0.16, "pivot: the nearest", fontsize=8)
        if i == 2:
            ax.plot(x, bent, color=SEEN, linewidth=1.6)
            ax.plot(*at["pivot"], "o", color=LINE)
            arrow(ax, tuple(at["pivot"]), (pivot + 0.1, goal[1] - 0.1))
        ax.set_xlim(-0.1, 4.1)
        ax.set_ylim(0.2, 1.85)
        ax.set_title(title, fontsize=8)
    drawn.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.8, wspace=0.06)
    return drawn


PICTURES: dict[str, Callable[[], Figure]] = {
    "tri-grid": tri_grid,
    "w-plus": w_plus,
    "camera": camera,
    "alpha-and-matte": alpha_and_matte,
    "occlusion-mask": occlusion_mask,
    "visibility-and-overlay": visibility_and_overlay,
    "stitching": stitching,
    "hidden-colours": hidden_colours,
    "two-stage-encoder": two_stage_encoder,
    "pti": pti,
}


def write(name: str) -> Path:
    drawn, content = PICTURES[name](), BytesIO()
    drawn.savefig(content, dpi=100)
    plt.close(drawn)
    path = OUT / f"{name}.png"
    # Few colours are enough for diagrams, and a fifth of the bytes.
    Image.open(content).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES, f"{path} has {path.stat().st_size} bytes, expected fewer than {MOST_BYTES}"
    return path


if __name__ == "__main__":
    torch.manual_seed(0)
    for chosen in sys.argv[1:] or PICTURES:
        print(write(chosen))
