"""Photos → heads as files: in parallel, and going on where it stopped."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...camera import Camera
from ...encoders.networks import NetworkFiles, load_networks
from ...errors import DualEncError
from ...files import write_text
from ...generator import PanoHead
from ...triplane import Triplane
from .engine import run
from .folder import ImageFolder
from .labels import FILE
from .prepare import IMAGES
from .records import (
    all_records,
    find_photos,
    is_done,
    rejection,
    rejections,
    result_name,
    same_settings,
    stamp,
    tables,
    write_json,
    write_record,
)

HEADS, PREVIEWS = "heads", "previews"
SIZE = 512
PREVIEW_YAWS = (-90.0, 0.0, 90.0, 180.0)


@dataclass(frozen=True)
class InvertSettings:
    """How photos become heads.

    Attributes:
        stitch: join by "points" or by "cells", as in the paper.
        hidden_colours: by points, how far hidden parts take on the colours of visible ones, 0..1.
        keep_background: do not replace what is not head.
        half: write heads in half precision, half the size.
        previews: also write a picture of each: the photo, the same view, and a view from every side.
    """

    stitch: str = "points"
    hidden_colours: float = 1.0
    keep_background: bool = False
    half: bool = False
    previews: bool = True


@dataclass(frozen=True)
class Inverted:
    """What a run found.

    Attributes:
        accepted: photos that became heads, in all runs on this output folder.
        rejected: photo → (short reason, sentence).
        resumed: photos that earlier runs had done already.
        psnr: mean over photos in the same view, in dB.
    """

    accepted: int
    rejected: dict[str, tuple[str, str]]
    resumed: int
    psnr: float


def invert_folder(
    photos: str | Path,
    out: str | Path,
    networks: NetworkFiles,
    settings: InvertSettings | None = None,
    engine: str = "local",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Inverted:
    """Invert every photo with both encoders.

    Writes heads/NAME.EXT.safetensors (`Triplane.load` reads it), previews/NAME.EXT.png, report.json and report.md
    (names that do not fit or are no text are changed, see `files.portable_name`).
    Every photo is written on its own, atomically, with a record of how it went; a run that was stopped in whatever way
    goes on there, and the result is the same, whatever the engine. Photos that have changed are done again.

    Args:
        photos: one photo; a folder, searched with its subfolders, whose photos are aligned as `align_portrait` does; or
            a folder with dataset.json, such as `prepare_folder` writes: its crops are taken with their cameras.
        out: on a file system that all workers share.
        engine, workers: as for `engine.run`.
        progress: called as progress(photos done, photos).

    A photo that cannot be used, for whatever reason, is listed and never ends the run. Raises DualEncError when there
    are no photos, ``out`` was made with other settings or weights, or the encoders do not fit the generator; OSError
    when results cannot be written.
    """
    settings = settings or InvertSettings()
    photos, out = Path(photos).absolute(), Path(out).absolute()
    root, names, aligned, problems = _source(photos, out)
    chosen = {
        name: getattr(settings, name) for name in ("stitch", "hidden_colours", "keep_background", "half", "previews")
    }
    same_settings(out, chosen | {"aligned": aligned} | networks.describe())
    for name, reason in problems.items():
        write_record(out, {"photo": name, "stamp": None, "status": "rejected", "code": "unreadable", "reason": reason})
    item = {"root": str(root), "out": str(out), "aligned": aligned, "networks": networks, "settings": settings}
    items = [item | {"name": n} for n in names if not is_done(out, n, root / n, _files(out, n, settings))]
    count = resumed = len(names) - len(items)
    if progress is not None:
        progress(count, len(names))
    for _ in run(invert_one, items, engine, workers, networks.device):
        count += 1
        if progress is not None:
            progress(count, len(names))
    return _finish(out, sorted({*names, *problems}), networks, settings, resumed)


@torch.no_grad()
def invert_one(item: dict[str, Any]) -> dict[str, Any]:
    """One photo of `invert_folder`, in whatever process; writes its head and its record."""
    from ...inversion import DualEncoder, on_backdrop

    torch.set_flush_denormal(True)
    settings: InvertSettings = item["settings"]
    root, out, name = Path(item["root"]), Path(item["out"]), item["name"]
    networks = load_networks(item["networks"])
    generator, device = networks.generator, networks.generator.w_avg.device
    record: dict[str, Any] = {"photo": name, "stamp": stamp(root / name)}
    dual = DualEncoder(generator, *networks.pair, settings.stitch, settings.hidden_colours)
    files = _files(out, name, InvertSettings(previews=True))
    head = None
    try:
        image, camera, matte, warnings = (_crop if item["aligned"] else _align)(root, name)
        image, camera = image.to(device), camera.to(device)
        matte = None if matte is None else matte.to(device)
        if matte is not None and not settings.keep_background:
            image = on_backdrop(generator, image, matte)
        head = dual.invert(image, camera, matte, keep_background=True).triplane
    except Exception as error:
        record |= rejection(error)
        # A head of what this photo was before must not pass for one of what it is now.
        for path in files:
            path.unlink(missing_ok=True)
    # Not above: a disk that is full is no fault of the photo.
    if head is not None:
        head.save(files[0], half=settings.half)
        record |= {"status": "accepted", "code": "", "reason": "", "warnings": warnings}
        record |= _measured(generator, head, image, camera, files[1] if settings.previews else None)
    write_record(out, record)
    return {"photo": name, "status": record["status"]}


def _source(photos: Path, out: Path) -> tuple[Path, list[str], bool, dict[str, str]]:
    """Folder, names in it, whether they are aligned crops with labels, and what is known to be unusable."""
    if photos.is_file():
        return photos.parent, [photos.name], False, {}
    if any((folder / FILE).is_file() for folder in (photos, photos / IMAGES)):
        found = ImageFolder.open(photos, SIZE)
        return found.root, list(found.names), True, found.left_out
    return photos, find_photos(photos, out), False, {}


def _align(root: Path, name: str) -> tuple[Tensor, Camera, Tensor, list[str]]:
    from ...portrait import align_portrait

    portrait = align_portrait(root / name, size=SIZE)
    return portrait.image, portrait.camera, portrait.matte, [w.message for w in portrait.report.warnings]


def _crop(root: Path, name: str) -> tuple[Tensor, Camera, Tensor | None, list[str]]:
    folder = _opened(str(root))
    example = folder.read(folder.names.index(name))
    if example is None:
        raise DualEncError(folder.problems[name])
    return example.image, example.camera, example.matte, []


@functools.lru_cache(maxsize=1)
def _opened(root: str) -> ImageFolder:
    return ImageFolder.open(root, SIZE)


def _measured(
    generator: PanoHead, head: Triplane, photo: Tensor, camera: Camera, preview: Path | None
) -> dict[str, Any]:
    """Camera, PSNR of the same view at the generator's size, and a picture."""
    from ...export import contact_sheet, save_png

    cameras = camera if preview is None else Camera.cat([camera, Camera.look_at(PREVIEW_YAWS).to(photo.device)])
    views = generator.render(head, cameras, quality="exact").image
    size = views.shape[-1]
    if photo.shape[-1] != size:
        photo = F.interpolate(photo, (size, size), mode="bilinear", antialias=True, align_corners=False)
    if preview is not None:
        labels = ("photo", "same view", *(f"{yaw:g}°" for yaw in PREVIEW_YAWS))
        save_png(contact_sheet([[photo[0], *views]], column_labels=labels, cell=min(size, 256)), preview)
    yaw, pitch = camera.angles
    # On -1..1, so the peak is 2; metrics proper are evaluation's, which builds on this package.
    mse = float((views[:1] - photo).square().mean())
    return {
        "yaw": round(float(yaw[0]), 3),
        "pitch": round(float(pitch[0]), 3),
        "label": [round(number, 6) for number in camera.label[0].double().tolist()],
        "psnr": round(10 * math.log10(4 / max(mse, 1e-10)), 4),
    }


def _files(out: Path, name: str, settings: InvertSettings) -> list[Path]:
    stem = result_name(name)
    preview = [out / PREVIEWS / f"{stem}.png"] if settings.previews else []
    return [out / HEADS / f"{stem}.safetensors", *preview]


def _finish(out: Path, names: list[str], networks: NetworkFiles, settings: InvertSettings, resumed: int) -> Inverted:
    records = all_records(out, names)
    for record in records:
        record.pop("stamp")
    accepted, rejected = [r for r in records if r["status"] == "accepted"], rejections(records)
    psnr = math.fsum(r["psnr"] for r in accepted) / len(accepted) if accepted else math.nan
    report = {
        "weights": networks.describe(),
        "stitch": settings.stitch,
        "hidden_colours": settings.hidden_colours,
        "photos": len(names),
        "accepted": len(accepted),
        "rejected": len(rejected),
        "reasons": dict(sorted(Counter(code for code, _ in rejected.values()).items())),
        "psnr": psnr if accepted else None,
        "records": records,
    }
    write_json(out / "report.json", report)
    lines = ["# Inverted photos", "", f"{len(names)} photos: {len(accepted)} heads, {len(rejected)} rejected."]
    if accepted:
        lines += [f"Same view, mean over photos: PSNR {psnr:.2f} dB."]
    lines += ["", "| file | SHA-256 |", "|---|---|"]
    lines += [f"| {found['file']} | {found['sha256']} |" for found in networks.describe().values()]
    write_text(out / "report.md", "\n".join([*lines, "", *tables(records)]) + "\n")
    return Inverted(len(accepted), rejected, resumed, psnr)
