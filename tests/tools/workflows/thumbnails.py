"""The pictures of the template list: runs the shipped prompts, without ComfyUI, with the bundled weights.

    python -m tests.tools.workflows.thumbnails [names of workflows]

writes workflows/NAME.jpg. Run it again when the bundled weights, the nodes or the prompts change.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import dualenc_core

from ...workflows.executor import Executor, Results
from ..help_pictures import load_pack, mesh_views
from .definitions import API, prompts
from .portrait import EXAMPLES

WIDTH, MOST_BYTES = 512, 60_000
GAP = 4


def over_squares(image: Tensor) -> Tensor:
    """IMAGE with alpha → what an image viewer shows of it."""
    side = image.shape[1]
    squares = (torch.arange(side)[:, None] // 16 + torch.arange(side) // 16) % 2
    board = 0.75 + 0.25 * squares[None, :, :, None].float()
    return torch.lerp(board, image[..., :3], image[..., 3:])


def grey(mask: Tensor) -> Tensor:
    """MASK → IMAGE."""
    return mask[..., None].expand(-1, -1, -1, 3)


def from_front(turn: Tensor) -> Sequence[Tensor]:
    """Pictures of a turn that ends at the front, as App mode wants it: it shows the last one."""
    return turn.roll(1, 0).split(1)


class Shots:
    """Outputs of a run by node id."""

    def __init__(self, results: Results) -> None:
        self.results = results

    def __call__(self, key: str, slot: int = 0) -> Tensor:
        return self.results.outputs[key][slot]

    def render(self, key: str = "render") -> list[Tensor]:
        """Picture, depth, alpha and normals of a render node."""
        image, alpha, depth, normal = (self(key, i) for i in range(4))
        return [image, depth, grey(alpha), normal]


Tiles = list[Tensor]
# Pictures in a row (or more), and the node ids that have to run for them.
SHEETS: dict[str, tuple[int, tuple[str, ...], Callable[[Shots], Tiles]]] = {
    "01_photo_to_360_head": (
        4,
        ("render",),
        lambda s: [s("load_photo"), s("align", 3), s("encode_1", 1), s("encode_2", 1), *from_front(s("render"))],
    ),
    "02_photo_to_turntable_video": (
        4,
        ("render",),
        lambda s: [s("load_photo"), *s("render")[::7].split(1)],
    ),
    "03_sample_heads": (4, ("render",), lambda s: list(s("render").split(1))),
    "04_pose_controlled_views": (
        3,
        ("render_left", "render_above", "render_cutout"),
        lambda s: [
            s("render_left"),
            s("render_above"),
            over_squares(s("render_cutout")),
            *s.render("render_above")[1:],
        ],
    ),
    "05_head_into_diffusion": (3, ("render",), lambda s: s.render()[:3]),
    "06_save_and_reload": (4, ("render",), lambda s: list(s("render").split(1))),
    "07_compare_encoders": (
        4,
        ("front", "render_1", "render_2", "render_both"),
        lambda s: [
            s("align"),
            s("encode_1", 1),
            s("encode_2", 1),
            s("invert", 1),
            s("load_photo"),
            *(s(key) for key in ("render_1", "render_2", "render_both")),
        ],
    ),
    "08_hair_transfer": (
        4,
        ("render", "render_before", "hair_reference"),
        lambda s: [
            *from_front(s("render_before"))[:4],
            *s("hair_reference", 1).chunk(4, dim=2),
            *from_front(s("render"))[:4],
        ],
    ),
    "09_morph_video": (4, ("morph",), lambda s: list(s("morph")[::9].split(1))),
    "10_coloured_mesh": (
        3,
        ("mesh", "align"),
        lambda s: [s("load_photo"), s("align"), s("invert", 1), *mesh_tiles(s("mesh").dualenc, (0, 60, 150))],
    ),
    "11_optimize_and_compare": (
        4,
        ("render_invert", "render_search", "render_improve"),
        lambda s: [
            s("align"),
            s("invert", 1),
            s("search", 3),
            s("improve", 3),
            s("load_photo"),
            *(s(f"render_{key}") for key in ("invert", "search", "improve")),
        ],
    ),
    "12_real_panohead": (4, ("render",), lambda s: [s("load_photo"), s("optimize", 3), *s("render")[::10].split(1)]),
    "14_video_frames": (3, ("render",), lambda s: [s("load_photo"), *s("render").split(1)]),
    "15_direct_a_head": (
        4,
        ("render", "render_before"),
        lambda s: [*s("render_before").flip(0).split(1), *s("render").flip(0).split(1)],
    ),
    "16_expression_and_light": (
        3,
        ("load_photo", "render", "render_before", "render_lender"),
        lambda s: [
            s("load_photo"),
            s("load_lender"),
            s("align_lender"),
            s("render_before"),
            s("render_lender"),
            s("render"),
        ],
    ),
    "17_turn_and_smile": (4, ("animate",), lambda s: [s("load_photo"), *s("animate")[:71:10].split(1)[:7]]),
    "13_head_into_3d": (
        3,
        ("render", "mesh"),
        lambda s: [s("load_photo"), s("render"), *mesh_tiles(s("mesh").dualenc, (30, 60, 100, 150))],
    ),
}


def runnable(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with the bundled generator in place of PanoHead's own weights, which are not here."""
    ours = {key: node for key, node in prompt.items() if node["class_type"] != "DualEncConvert"}
    for node in ours.values():
        if node["class_type"] == "DualEncLoadPanoHead":
            node["inputs"].pop("path", None)
    return ours


def mesh_tiles(mesh: Any, yaws: Sequence[int]) -> Tiles:
    """A mesh from some sides."""
    return [(view.permute(1, 2, 0)[None] + 1) / 2 for view in mesh_views(dualenc_core, mesh, yaws)]


def sheet(tiles: Tiles, columns: int) -> Image.Image:
    """Square IMAGEs [1,H,H,3] as one picture, 512 px wide, on white."""
    side = (WIDTH - GAP * (columns - 1)) // columns
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (WIDTH, rows * (side + GAP) - GAP), "white")
    for i, tile in enumerate(tiles):
        picture = Image.fromarray((tile[0].numpy() * 255).round().clip(0, 255).astype(np.uint8))
        place = (i % columns * (side + GAP), i // columns * (side + GAP))
        page.paste(picture.resize((side, side), Image.Resampling.LANCZOS), place)
    return page


def jpeg(picture: Image.Image) -> bytes:
    """As good as MOST_BYTES allow."""
    for quality in range(90, 30, -4):
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() < MOST_BYTES:
            return file.getvalue()
    raise ValueError(f"the picture does not fit into {MOST_BYTES} bytes")


def main(names: Sequence[str]) -> None:
    shipped = prompts()
    unknown = [name for name in names if name not in shipped]
    if unknown:
        raise SystemExit(f"no workflow {', '.join(unknown)}; known: {', '.join(shipped)}")
    executor = Executor(load_pack())
    here = Path.cwd()
    for name in names or shipped:
        start = time.perf_counter()
        columns, wanted, pick = SHEETS[name]
        with tempfile.TemporaryDirectory() as folder:
            # Outside ComfyUI the nodes read and write below the current folder.
            os.chdir(folder)
            try:
                Path("input").mkdir()
                for photo in EXAMPLES:
                    shutil.copy(photo, "input")
                tiles = pick(Shots(executor.run(runnable(shipped[name]), wanted)))
            finally:
                os.chdir(here)
        data = jpeg(sheet(tiles, columns))
        (API.parent / f"{name}.jpg").write_bytes(data)
        print(f"{name}.jpg: {len(data)} bytes, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
