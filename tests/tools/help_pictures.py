"""The pictures of the help pages: runs the nodes, without ComfyUI, with the bundled weights.

    python tests/tools/help_pictures.py [names of nodes]

writes nodes/web/docs/pictures/<NodeId>.jpg. Run it again when the bundled weights or the nodes change.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "nodes" / "web" / "docs" / "pictures"
WIDTH, MOST_BYTES = 640, 36_000
PORTRAIT_SIDE = 256
LARGEST_CELL = 300


def load_pack(name: str = "dualenc_pack") -> ModuleType:
    """The repository loaded as ComfyUI loads a pack: under a name that it does not know."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def call(pack: ModuleType, node: str, **inputs: Any) -> tuple:
    """The outputs of a node; inputs that are not given get the default of their widget."""
    cls = pack.NODE_CLASS_MAPPINGS[node]
    for name, (kind, options) in cls.INPUT_TYPES()["required"].items():
        default = options.get("default", kind[0] if isinstance(kind, list) else None)
        if default is not None:
            inputs.setdefault(name, default)
    result = getattr(cls(), cls.FUNCTION)(**inputs)
    return result["result"] if isinstance(result, dict) else result


class Studio:
    """What several pages show, made once.

    IMAGEs are [B,H,W,3] in 0..1; `views` and everything that goes on a sheet are pictures [3,H,W] in [-1,1].
    """

    def __init__(self, pack: ModuleType) -> None:
        self.pack = pack
        self.core = sys.modules[f"{pack.__name__}.dualenc_core"]

    def run(self, node: str, **inputs: Any) -> tuple:
        return call(self.pack, f"DualEnc{node}", **inputs)

    @cached_property
    def generator(self):
        return self.run("LoadPanoHead")[0]

    @cached_property
    def encoders(self) -> tuple:
        names = ("demo Encoder 1 (bundled)", "demo Encoder 2 (bundled)")
        return tuple(self.run("LoadEncoder", file=name)[0] for name in names)

    @cached_property
    def photo(self) -> dict[str, Any]:
        """The example portrait, aligned, as inputs of Encode and Invert."""
        demo = importlib.import_module(f"{self.core.__name__}.commands.demo")
        with Image.open(demo.PORTRAIT) as picture:
            pixels = torch.from_numpy(np.asarray(picture.convert("RGB")).copy())[None].float() / 255
        image, camera, matte = self.run("AlignPortrait", image=pixels, size=PORTRAIT_SIDE)[:3]
        return {"image": image, "camera": camera, "matte": matte}

    @cached_property
    def encoded(self) -> tuple[tuple, tuple]:
        """(triplane, reconstruction) of Encoder 1 and of Encoder 2."""
        return tuple(self.run("Encode", generator=self.generator, encoder=e, **self.photo) for e in self.encoders)

    def mask(self, mode: str) -> tuple:
        inputs = {"generator": self.generator, "triplane": self.encoded[0][0], "camera": self.photo["camera"]}
        return self.run("OcclusionMask", mode=mode, **inputs)

    @cached_property
    def by_points(self) -> tuple:
        return self.mask("points")

    @cached_property
    def stitched(self):
        (visible, _), (occluded, _) = self.encoded
        parts = {"visible": visible, "occluded": occluded, "mask": self.by_points[0]}
        return self.run("Stitch", generator=self.generator, **parts)[0]

    def sampled(self, truncation: float = 0.7):
        """Four invented heads."""
        return self.run("Sample", generator=self.generator, seed=0, truncation=truncation, count=4)[0]

    @cached_property
    def head(self):
        """One invented head."""
        return self.run("Sample", generator=self.generator, seed=3)[0]

    @cached_property
    def donor(self):
        """Another one, with dark hair and a parting of its own."""
        return self.run("Sample", generator=self.generator, seed=18)[0]

    def render(self, triplane, camera, **inputs: Any) -> tuple:
        return self.run("Render", generator=self.generator, triplane=triplane, camera=camera, **inputs)

    def views(self, triplane, *cameras) -> list[Tensor]:
        """Heads from cameras; numbers are yaws."""
        cameras = [self.run("Camera", yaw=float(c))[0] if isinstance(c, (int, float)) else c for c in cameras]
        return frames(self.render(triplane, self.core.Camera.cat(cameras or [self.run("Camera")[0]]))[0])

    @cached_property
    def sides(self) -> list[list[Tensor]]:
        """Encoder 1, Encoder 2 and the stitched head, each from 90° and 180°."""
        heads = (self.encoded[0][0], self.encoded[1][0], self.stitched)
        return [self.views(head, 90, 180) for head in heads]


# ------------------------------------------------------------------------------------------------------------- pages

# Rows of pictures, labels of the rows, labels of the columns.
Sheet = tuple[Sequence[Sequence[Tensor]], Sequence[str], Sequence[str]]
Page = list[Sheet]


def labelled(pictures: dict[str, Tensor], columns: int) -> Page:
    """Pictures with a label above each; their number is a multiple of ``columns``."""
    names = list(pictures)
    groups = [names[i : i + columns] for i in range(0, len(names), columns)]
    return [([[pictures[name] for name in group]], (), group) for group in groups]


def load_panohead(studio: Studio) -> Page:
    return [([studio.views(studio.sampled())], (), ())]


def load_encoder(studio: Studio) -> Page:
    (_, first), (_, second) = studio.encoded
    pictures = {"photo": studio.photo["image"], "Encoder 1": first, "Encoder 2": second}
    pictures = {name: frames(picture)[0] for name, picture in pictures.items()}
    behind = [sides[1] for sides in studio.sides[:2]]
    return labelled(pictures | dict(zip(("1, behind", "2, behind"), behind, strict=True)), 5)


def align_portrait(studio: Studio) -> Page:
    demo = importlib.import_module(f"{studio.core.__name__}.commands.demo")
    pixels = demo.astronaut_pixels()
    if pixels is None:
        raise SystemExit("the page of Align Portrait shows a photo of scikit-image: pip install scikit-image")
    # The upper part, so that what is drawn on the face can be seen.
    photo = torch.from_numpy(pixels[:300, 90:390].copy())[None].float() / 255
    portrait, _, matte, overlay, *_ = studio.run("AlignPortrait", image=photo)
    pictures = {"overlay": overlay, "portrait": portrait, "matte": grey(matte)}
    return labelled({name: frames(picture)[0] for name, picture in pictures.items()}, 3)


def encode(studio: Studio) -> Page:
    row = [frames(studio.photo["image"])[0], frames(studio.encoded[0][1])[0], *studio.sides[0]]
    return [([row], (), ("image", "reconstruction", "yaw 90", "yaw 180"))]


def occlusion_mask(studio: Studio) -> Page:
    rows = []
    for preview in (studio.by_points[1], studio.mask("cells")[1]):
        rows.append([frames(part)[0] for part in preview.chunk(4, dim=2)])
    return [(rows, ("points", "cells"), ("photo's view", "+90°", "+180°", "+270°"))]


def stitch(studio: Studio) -> Page:
    front = [frames(studio.encoded[0][1])[0], frames(studio.encoded[1][1])[0]]
    front += studio.views(studio.stitched, studio.photo["camera"])
    rows = [[first, *others] for first, others in zip(front, studio.sides, strict=True)]
    return [(rows, ("visible", "occluded", "stitched"), ("photo's view", "yaw 90", "yaw 180"))]


def invert(studio: Studio) -> Page:
    encoder1, encoder2 = studio.encoders
    inputs = {"generator": studio.generator, "encoder1": encoder1, "encoder2": encoder2, **studio.photo}
    head, picture = studio.run("Invert", **inputs)
    yaws = (-60, 60, 120, 180)
    pictures = {"image": frames(studio.photo["image"])[0], "reconstruction": frames(picture)[0]}
    turned = zip((f"yaw {yaw}" for yaw in yaws), studio.views(head, *yaws), strict=True)
    return labelled(pictures | dict(turned), 3)


def optimize(studio: Studio) -> Page:
    # Heads and steps enough to see what each mode does; the report of the node says how to do better.
    inputs = {"generator": studio.generator, **studio.photo, "patience": 0, "rate": 0.0, "seed": 0}
    modes = {"W+": {"steps": 120}, "PTI": {"steps": 120, "tune_steps": 80}}
    modes["refine"] = {"steps": 60, "triplane": studio.stitched}
    front, behind = [frames(studio.photo["image"])[0]], [frames(studio.photo["image"])[0]]
    for mode, more in modes.items():
        used, head, _, picture, _ = studio.run("Optimize", mode=mode, **inputs, **{"tune_steps": 1, **more})
        front += frames(picture)
        camera = studio.run("Camera", yaw=180.0)[0]
        behind += frames(studio.run("Render", generator=used, triplane=head, camera=camera)[0])
    return [([front, behind], ("its camera", "yaw 180"), ("image", *modes))]


def sample(studio: Studio) -> Page:
    psi = (0.3, 0.7, 1.0)
    rows = [studio.views(studio.sampled(value)) for value in psi]
    return [(rows, [f"truncation {value:g}" for value in psi], [f"seed {seed}" for seed in range(4)])]


def camera(studio: Studio) -> Page:
    shown = {
        "front": {},
        "yaw 40": {"yaw": 40.0},
        "yaw -40": {"yaw": -40.0},
        "pitch 30": {"pitch": 30.0},
        "roll 15": {"roll": 15.0},
        "fov 18": {"fov": 18.0},
    }
    cameras = [studio.run("Camera", **inputs)[0] for inputs in shown.values()]
    return labelled(dict(zip(shown, studio.views(studio.head, *cameras), strict=True)), 3)


def orbit(studio: Studio) -> Page:
    paths = ({"frames": 6}, {"frames": 6, "start": -45.0, "end": 45.0, "swing": True})
    rows = [studio.views(studio.head, studio.run("Orbit", **inputs)[0]) for inputs in paths]
    return [(rows, ("full turn", "swing"), [f"frame {i}" for i in range(1, 7)])]


def render(studio: Studio) -> Page:
    camera = studio.run("Camera", yaw=25.0)[0]
    image, alpha, depth, normal = studio.render(studio.head, camera)
    colour = studio.render(studio.head, camera, background="colour", colour="#3f6a8a")[0]
    transparent = studio.render(studio.head, camera, background="transparent")[0]
    side = image.shape[1]
    squares = (torch.arange(side)[:, None] // 16 + torch.arange(side) // 16) % 2
    board = 0.75 + 0.25 * squares[None, :, :, None].float()
    over = torch.lerp(board, transparent[..., :3], transparent[..., 3:])
    pictures = {"generator": image, "colour": colour, "transparent": over}
    pictures |= {"alpha": grey(alpha), "depth": depth, "normal": normal}
    return labelled({name: frames(picture)[0] for name, picture in pictures.items()}, 3)


def turntable(studio: Studio) -> Page:
    yaws, pitches = (0, 60, 120, 180, 240, 300), (25.0, 0.0, -25.0)
    cameras = [[studio.run("Camera", yaw=float(yaw), pitch=pitch)[0] for yaw in yaws] for pitch in pitches]
    rows = [studio.views(studio.head, *row) for row in cameras]
    return [(rows, [f"pitch {pitch:g}" for pitch in pitches], [f"yaw {yaw}" for yaw in yaws])]


def compare(studio: Studio) -> Page:
    truth = studio.photo["image"]
    row, labels = [frames(truth)[0]], ["reference"]
    for i, (_, picture) in enumerate(studio.encoded, start=1):
        _, psnr, ssim, *_ = studio.run("Compare", image=picture, reference=truth)
        row.append(frames(picture)[0])
        labels.append(f"Encoder {i}: {psnr:.1f} dB, {ssim:.2f}")
    return [([row], (), labels)]


def triplane_file(studio: Studio) -> Page:
    row = studio.views(studio.head, 30)
    for half in (False, True):
        path = studio.run("SaveTriplane", triplane=studio.head, half=half)[0]
        row += studio.views(studio.run("LoadTriplane", path=path)[0], 30)
    return [([row], (), ("before", "loaded", "loaded, saved half"))]


def region_mask(studio: Studio) -> Page:
    parts = ("hair", "face", "back of the head")
    rows = []
    for part in parts:
        preview = studio.run("RegionMask", generator=studio.generator, triplane=studio.donor, part=part)[1]
        rows.append([frames(side)[0] for side in preview.chunk(4, dim=2)])
    return [(rows, parts, ("front", "+90°", "+180°", "+270°"))]


def transfer_region(studio: Studio) -> Page:
    result = studio.run("TransferRegion", generator=studio.generator, target=studio.head, reference=studio.donor)[0]
    yaws = (0, 60, 120, 180)
    rows = [studio.views(head, *yaws) for head in (studio.head, studio.donor, result)]
    return [(rows, ("target", "reference", "result"), [f"yaw {yaw}" for yaw in yaws])]


def blend(studio: Studio) -> Page:
    weights = (0.0, 0.25, 0.5, 0.75, 1.0)
    heads = {"generator": studio.generator, "first": studio.head, "second": studio.donor}
    row = [studio.views(studio.run("Blend", weight=w, **heads)[0], 25)[0] for w in weights]
    return [([row], (), [f"weight {w:g}" for w in weights])]


def morph(studio: Studio) -> Page:
    move = studio.run("Orbit", frames=6, start=-40.0, end=40.0)[0]
    heads = {"triplane": studio.head, "second": studio.donor}
    image, _ = studio.run("Morph", generator=studio.generator, camera=move, loop=False, **heads)
    return [([frames(image)], (), [f"frame {i}" for i in range(1, 7)])]


def mirror(studio: Studio) -> Page:
    yaws = (-40, 0, 40)
    # A head with a parting: others are nearly their own mirror images.
    head = studio.run("Sample", generator=studio.generator, seed=45)[0]
    rows = [studio.views(head, *yaws) for head in (head, studio.run("Mirror", triplane=head)[0])]
    return [(rows, ("head", "mirrored"), [f"yaw {yaw}" for yaw in yaws])]


def mix_styles(studio: Studio) -> Page:
    chosen = ("0-3", "4-6", "7-")
    heads = {"generator": studio.generator, "first": studio.head, "second": studio.donor}
    mixed = [studio.run("MixStyles", rows=rows, **heads)[0] for rows in chosen]
    row = [studio.views(head, 25)[0] for head in (studio.head, studio.donor, *mixed)]
    return [([row], (), ("first", "second", *(f"rows {rows}" for rows in chosen)))]


def attributes(studio: Studio) -> Page:
    wishes = {
        "as it is": {},
        "smile": {"smile_open": 0.8},
        "older": {"age": 35.0, "hair_grey": 0.5},
        "hair": {"hair_style": "bob01"},
        "light": {"light_yaw": 70.0, "light_softness": -0.3},
    }
    heads = {"generator": studio.generator, "triplane": studio.head}
    results = [studio.run("Attributes", **heads, **wish)[0] for wish in wishes.values()]
    rows = [[studio.views(head, yaw)[0] for head in results] for yaw in (0, 60)]
    return [(rows, (), list(wishes))]


def attributes_from(studio: Studio) -> Page:
    mine, results = {"generator": studio.generator, "triplane": studio.head}, []
    for light in (False, True):
        lent = studio.run("AttributesFrom", generator=studio.generator, triplane=studio.donor, light=light)[0]
        results.append(studio.run("Attributes", **mine, values=lent)[0])
    row = [studio.views(head, 0)[0] for head in (studio.donor, studio.head, *results)]
    return [([row], (), ("lends", "head", "expression", "and light"))]


def animate(studio: Studio) -> Page:
    made = studio.run("Animate", generator=studio.generator, triplane=studio.head, seconds=4.0, fps=1.5)[0]
    return [([frames(made)], (), [f"frame {i}" for i in range(1, 7)])]


def mesh(studio: Studio) -> Page:
    made = studio.run("Mesh", generator=studio.generator, triplane=studio.donor)[0].dualenc
    yaws = (0, 60, 150)
    rows = [studio.views(studio.donor, *yaws), mesh_views(studio.core, made, yaws)]
    return [(rows, ("rendered", "mesh"), [f"yaw {yaw}" for yaw in yaws])]


def save_mesh(studio: Studio) -> Page:
    made = studio.run("Mesh", generator=studio.generator, triplane=studio.donor)[0]
    path = Path("output", studio.run("SaveMesh", mesh=made)[0])
    yaws = (20, 110, 200, 290)
    return [([mesh_views(studio.core, loaded(studio.core, path), yaws)], (), [f"yaw {yaw}" for yaw in yaws])]


def splat(studio: Studio) -> Page:
    made = studio.core.export.bake_splats(studio.generator.module, studio.donor)
    yaws = (0, 60, 150)
    cameras = [studio.run("Camera", yaw=float(yaw))[0] for yaw in yaws]
    drawn = [studio.core.export.render_splats(made, camera, 256, 0.94)[0][0] * 2 - 1 for camera in cameras]
    plain = [frames(studio.render(studio.donor, c, background="colour", colour="#f0f0f0")[0])[0] for c in cameras]
    return [([plain, drawn], ("rendered", "splats"), [f"yaw {yaw}" for yaw in yaws])]


def save_video(studio: Studio) -> Page:
    import av

    cameras = studio.run("Orbit", frames=3, start=-50.0, end=70.0)[0]
    view = {"generator": studio.generator, "triplane": studio.donor, "camera": cameras}
    clear = studio.run("Render", background="transparent", **view)[0]
    path = Path("output", studio.run("SaveVideo", image=clear, format="webm")[0])
    # FFmpeg's own decoder of VP9 leaves the transparency out.
    decoder = av.CodecContext.create("libvpx-vp9", "r")
    with av.open(str(path)) as container:
        decoded = [frame for packet in container.demux(video=0) for frame in decoder.decode(packet)]
    side = clear.shape[1]
    stripes = (torch.arange(side) // 16 % 2).float().expand(3, side, side)
    behind = (torch.full((3, side, side), 0.8), 0.55 + 0.35 * stripes, torch.full((3, side, side), 0.12))
    pictures = []
    for frame, back in zip(decoded, behind, strict=True):
        pixels = torch.from_numpy(frame.to_ndarray(format="rgba")).permute(2, 0, 1) / 255
        pictures.append((pixels[:3] * pixels[3:] + back * (1 - pixels[3:])) * 2 - 1)
    return [([pictures], (), ("plain", "striped", "dark"))]


def loaded(core: ModuleType, path: Path) -> Any:
    """The mesh of a GLB file, in world units, with sRGB colours."""
    import trimesh

    body = next(iter(trimesh.load(path).geometry.values()))
    # trimesh takes the linear colours of glTF as they are.
    linear = torch.tensor(body.visual.vertex_attributes["color"][:, :3].astype("float32")) / 65535
    colours = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
    vertices = torch.tensor(body.vertices, dtype=torch.float32) / core.export.METRES_PER_UNIT
    normals = torch.tensor(body.vertex_normals, dtype=torch.float32)
    return core.export.Mesh(vertices, torch.tensor(body.faces), normals, colours)


def mesh_views(core: ModuleType, made: Any, yaws: Sequence[int], side: int = 256) -> list[Tensor]:
    """A mesh from the usual distance: its triangles as dots, the nearest on top, a little lit from the front."""
    spots = torch.rand(32, 2, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    shares = torch.stack([spots[:, 0], spots[:, 1] - spots[:, 0], 1 - spots[:, 1]], 1)
    points, colours, normals = (
        (shares[None, :, :, None] * value[made.faces][:, None]).sum(2).flatten(0, 1)
        for value in (made.vertices, made.colours, made.normals)
    )
    pictures = []
    for yaw in yaws:
        camera = core.Camera.look_at(float(yaw))
        away = points - camera.position
        facing = -(torch.nn.functional.normalize(away, dim=1) * normals).sum(1)
        pixel = (camera.project(points[None])[0][0] * side).long()
        kept = (facing > 0) & ((pixel >= 0) & (pixel < side)).all(1)
        order = away.norm(dim=1)[kept].argsort(descending=True)
        x, y = pixel[kept][order].T
        picture = torch.full((side, side, 3), 0.94)
        shade = (0.75 + 0.25 * facing[kept][order]).clamp(0, 1)[:, None]
        # Of several dots on a pixel NumPy keeps the last, which is the nearest.
        flat = (y * side + x).numpy()
        picture.view(-1, 3).numpy()[flat] = (colours[kept][order] * shade).numpy()
        pictures.append(picture.permute(2, 0, 1) * 2 - 1)
    return pictures


PAGES: dict[str, Callable[[Studio], Page]] = {
    "DualEncLoadPanoHead": load_panohead,
    "DualEncLoadEncoder": load_encoder,
    "DualEncAlignPortrait": align_portrait,
    "DualEncEncode": encode,
    "DualEncOcclusionMask": occlusion_mask,
    "DualEncStitch": stitch,
    "DualEncInvert": invert,
    "DualEncOptimize": optimize,
    "DualEncSample": sample,
    "DualEncCamera": camera,
    "DualEncOrbit": orbit,
    "DualEncRender": render,
    "DualEncTurntable": turntable,
    "DualEncRegionMask": region_mask,
    "DualEncTransferRegion": transfer_region,
    "DualEncBlend": blend,
    "DualEncMorph": morph,
    "DualEncMirror": mirror,
    "DualEncMixStyles": mix_styles,
    "DualEncAttributes": attributes,
    "DualEncAttributesFrom": attributes_from,
    "DualEncAnimate": animate,
    "DualEncMesh": mesh,
    "DualEncSaveMesh": save_mesh,
    "DualEncSplat": splat,
    "DualEncSaveTriplane": triplane_file,
    "DualEncSaveVideo": save_video,
    "DualEncCompare": compare,
}


# ----------------------------------------------------------------------------------------------------------- pictures


def frames(image: Tensor) -> list[Tensor]:
    """IMAGE [B,H,W,3] in 0..1 → pictures [3,H,W] in [-1,1]."""
    return list(image[..., :3].movedim(-1, 1) * 2 - 1)


def grey(mask: Tensor) -> Tensor:
    """MASK [B,H,W] → IMAGE [B,H,W,3]."""
    return mask[..., None].expand(-1, -1, -1, 3)


def draw(core: ModuleType, page: Page) -> Image.Image:
    """Contact sheets, one below the other, as wide as a help page."""
    # Large cells first: what the labels leave is known only afterwards.
    for cell in range(min(LARGEST_CELL, WIDTH // len(page[0][0][0])), 8, -1):
        sheets = [core.export.contact_sheet(*sheet, cell) for sheet in page]
        if all(sheet.shape[2] <= WIDTH for sheet in sheets):
            return Image.fromarray(core.export.to_uint8(torch.cat(sheets, dim=1)))
    raise ValueError("the labels leave no place for pictures")


def jpeg(image: Image.Image) -> bytes:
    """As good as MOST_BYTES allow."""
    for quality in range(90, 30, -4):
        file = BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    raise ValueError(f"the picture does not fit into {MOST_BYTES} bytes")


@torch.inference_mode()
def main(names: Sequence[str]) -> None:
    studio = Studio(load_pack())
    unknown = set(names) - PAGES.keys()
    if unknown:
        raise SystemExit(f"no picture for {', '.join(sorted(unknown))}; known: {', '.join(PAGES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    here = Path.cwd()
    # Outside ComfyUI the nodes write their previews and files below the current folder.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for name in names or PAGES:
                start = time.perf_counter()
                data = jpeg(draw(studio.core, PAGES[name](studio)))
                (OUT / f"{name}.jpg").write_bytes(data)
                print(f"{name}.jpg: {len(data)} bytes, {time.perf_counter() - start:.0f} s", flush=True)
        finally:
            os.chdir(here)


if __name__ == "__main__":
    main(sys.argv[1:])
