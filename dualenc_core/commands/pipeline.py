"""From an aligned portrait to every file that ``reconstruct``, ``optimize`` and ``demo`` write."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..camera import Camera
from ..export import contact_sheet, save_alpha, save_depth, save_png, save_video
from ..files import read_text, write_text
from ..generator import PanoHead
from ..images import resize_smooth
from ..inversion import DualEncoder
from ..mattes import NOTHING
from ..metrics.pictures import psnr, ssim
from ..rendering.output import Rendering
from ..triplane import Triplane
from .feedback import Stopwatch, progress_bar
from .models import Models

SHEET_YAWS = tuple(range(0, 360, 45))
VIEW_LABELS = ("input view", *(f"{yaw}°" for yaw in SHEET_YAWS))


@dataclass(frozen=True)
class Subject:
    """Who is reconstructed.

    Attributes:
        image: [1,3,S,S] in [-1,1], aligned.
        camera: one view.
        matte: [1,1,S',S'] in 0..1, or None.
        overlay: [1,3,h,w] in [-1,1], what the alignment saw, or None.
        source: what the report says about the photo.
        alignment: what the report says about the alignment.
        truth: the true pictures [N,3,r,r] of N cameras, where they are known.
    """

    image: Tensor
    camera: Camera
    matte: Tensor | None = None
    overlay: Tensor | None = None
    source: dict[str, Any] = field(default_factory=dict)
    alignment: dict[str, Any] = field(default_factory=dict)
    truth: Callable[[Camera, int], Tensor] | None = None


@dataclass(frozen=True)
class ViewOptions:
    """How the result is shown: stitching, how far hidden colours are matched, turntable frames and speed, rays along
    each side (None = the generator's), quality of rendering."""

    stitch: str = "points"
    hidden_colours: float = 1.0
    frames: int = 60
    fps: float = 24.0
    resolution: int | None = None
    quality: str = "exact"

    @classmethod
    def of(cls, args: argparse.Namespace) -> ViewOptions:
        """What `options.add_views` read."""
        return cls(args.stitch, args.hidden_colours, args.frames, args.fps, args.resolution, args.quality)


@dataclass(frozen=True)
class Outcome:
    """What stays in memory: the views [9,3,h,w] of the resulting head (input view, 8 yaws), the photo, the report."""

    photo: Tensor
    views: Tensor
    report: dict[str, Any]


def reconstruct(models: Models, subject: Subject, options: ViewOptions, folder: Path, clock: Stopwatch) -> Outcome:
    """Invert a portrait with both encoders and write everything that `present` writes."""
    generator, device = models.generator, models.device
    dual = DualEncoder(generator, models.encoder1, models.encoder2, options.stitch, options.hidden_colours)
    matte = None if subject.matte is None else subject.matte.to(device)
    with progress_bar("inverting") as progress:
        # The subject is on its backdrop, if it is to be.
        inversion = dual.invert(
            subject.image.to(device), subject.camera.to(device), matte, progress=progress, keep_background=True
        )
    for stage, seconds in inversion.timings.items():
        clock.add(stage, seconds)
    heads = {"Encoder 1": inversion.visible, "Encoder 2": inversion.occluded, "Dual": inversion.triplane}
    chosen = {"stitch": options.stitch, "hidden_colours": options.hidden_colours}
    return present(generator, heads, models.files, subject, options, folder, clock, chosen)


@torch.no_grad()
def present(
    generator: PanoHead,
    heads: dict[str, Triplane],
    files: Sequence[dict[str, str]],
    subject: Subject,
    options: ViewOptions,
    folder: Path,
    clock: Stopwatch,
    more: dict[str, Any] | None = None,
) -> Outcome:
    """Write crop, overlay, comparison, sheet, turntable, depth, alpha, triplane and report of heads of one portrait.

    Everything but ``report.json``, which has the timings, has the same bytes for the same inputs on a CPU.

    Args:
        generator: reads all heads.
        heads: by name, one row of the sheet each; the last is the result.
        files: the weights, for the report.
        more: further entries of the report.
    """
    device = generator.w_avg.device
    image, matte = subject.image.to(device), None if subject.matte is None else subject.matte.to(device)
    name, triplane = list(heads.items())[-1]
    save_png(subject.image[0], folder / "crop.png")
    if subject.overlay is not None:
        save_png(subject.overlay[0], folder / "overlay.png")
    triplane.save(folder / "triplane.safetensors")

    with clock("sheet"):
        cameras = Camera.cat([subject.camera, Camera.look_at(yaw=SHEET_YAWS)])
        views = _views(generator, heads, cameras, options)
        size = views[name].image.shape[-1]
        truth = None if subject.truth is None else subject.truth(cameras, size).to(device)
        rows = {row: view.image for row, view in views.items()}
        if truth is not None:
            rows["Truth"] = truth
        sheet = contact_sheet(list(rows.values()), list(rows), VIEW_LABELS, cell=min(size, 224))
        save_png(sheet, folder / "sheet.png")

    result = views[name]
    photo = resize_smooth(image, size)
    pair = contact_sheet([[photo[0], result.image[0]]], column_labels=("photo", "reconstruction"), cell=max(size, 256))
    save_png(pair, folder / "comparison.png")
    near, far = generator.config.render.near, generator.config.render.far
    save_depth(result.depth[0], folder / "depth.png", near, far)
    save_alpha(result.alpha[0], folder / "alpha.png")

    if options.frames:
        with clock("turntable"):
            frames = turntable(generator, triplane, options)
            save_video(frames, folder / "turntable.mp4", options.fps)

    pictures = {row: view.image for row, view in views.items()}
    report = {
        "dualenc": __version__,
        "torch": torch.__version__,
        "device": str(device),
        "input": subject.source,
        "camera": describe_camera(subject.camera),
        "alignment": subject.alignment,
        **(more or {}),
        "weights": list(files),
        "depth": {"file": "depth.png", "near": near, "far": far, "meaning": "value = (distance-near)/(far-near)*65535"},
        "metrics": {"same_view": {row: _compare(view[:1], photo, matte) for row, view in pictures.items()}},
        "timings": clock.rounded(),
    }
    if truth is not None:
        report["metrics"]["by_yaw"] = {
            row: {str(yaw): _compare(view[i : i + 1], truth[i : i + 1]) for i, yaw in enumerate(SHEET_YAWS, start=1)}
            for row, view in pictures.items()
        }
    write_json(folder / "report.json", report)
    return Outcome(photo, result.image, report)


@torch.no_grad()
def turntable(generator: PanoHead, triplane: Triplane, options: ViewOptions) -> Iterator[Tensor]:
    """Pictures [3,h,w] of a full turn, with a progress bar; only one is in memory at a time."""
    with progress_bar("turntable") as progress:
        cameras = Camera.orbit(options.frames)
        views = generator.stream(
            triplane, cameras, resolution=options.resolution, quality=options.quality, progress=progress
        )
        yield from (view.image[0] for view in views)


def stale_results(out: Path) -> tuple[str, ...]:
    """What an earlier run may have left in a folder and this one may not write (`output_folder`).

    A generator is only taken for an earlier result if the report there says so: it may be somebody's own.
    """
    try:
        tuned = "generator.safetensors" in json.loads(read_text(out / "report.json")).get("note", "")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        tuned = False
    return ("overlay.png", "turntable.mp4", *(("generator.safetensors",) if tuned else ()))


def describe_camera(camera: Camera) -> dict[str, Any]:
    """Yaw and pitch in degrees, radius, and the 25 numbers."""
    yaw, pitch = camera.angles
    return {
        "yaw": round(float(yaw[0]), 3),
        "pitch": round(float(pitch[0]), 3),
        "radius": round(float(camera.position[0].norm()), 4),
        "label": camera.label[0].tolist(),
    }


def write_json(path: Path, content: Any) -> None:
    """Readable JSON, atomically; NaN becomes null because JSON has none."""
    write_text(path, json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def provenance(content: dict[str, Any]) -> str:
    """What a video's comment says about where it comes from: JSON, with the program."""
    return json.dumps(_without_nan(content | {"program": f"dualenc {__version__}"}), sort_keys=True)


def _views(
    generator: PanoHead, heads: dict[str, Triplane], cameras: Camera, options: ViewOptions
) -> dict[str, Rendering]:
    total = len(heads) * len(cameras)
    views: dict[str, Rendering] = {}
    with progress_bar("views") as progress:
        for i, (name, triplane) in enumerate(heads.items()):
            views[name] = generator.render(
                triplane,
                cameras,
                options.resolution,
                progress=lambda done, n, i=i: progress(i * n + done, total),
                quality=options.quality,
            )
    return views


def _compare(image: Tensor, target: Tensor, matte: Tensor | None = None) -> dict[str, float]:
    numbers = {"psnr": float(psnr(image, target)[0]), "ssim": float(ssim(image, target)[0])}
    if matte is not None and float(matte.max()) >= NOTHING:
        numbers["psnr_head"] = float(psnr(image, target, resize_smooth(matte, image.shape[-1]))[0])
    return {name: round(value, 4) for name, value in numbers.items()}


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and content - content != 0 else content
