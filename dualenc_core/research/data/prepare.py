"""A folder of photos → aligned crops, mattes and ``dataset.json``: in parallel, and going on where it stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ...camera import Camera
from ...errors import DualEncError
from ...files import make_folder, write_text
from ...portrait.report import Report
from .engine import run
from .labels import FILE, write_labels
from .records import (
    all_records,
    drop_stale,
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

IMAGES, MASKS = "images", "masks"


@dataclass(frozen=True)
class PrepareSettings:
    """What a usable photo is.

    Attributes:
        size: side of the crops in pixels.
        least_confidence: of the face, 0..1.
        least_side: of the crop in the photo, in pixels (PanoHead's own tool asks for 256).
        most_outside: share of the crop that may lie outside the photo and is made up.
        most_yaw, most_pitch: of the camera in degrees (PanoHead's own tool: 90 and 80).
    """

    size: int = 512
    least_confidence: float = 0.5
    least_side: float = 256.0
    most_outside: float = 0.25
    most_yaw: float = 90.0
    most_pitch: float = 80.0

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise DualEncError(f"size is {self.size}, expected 16..4096 pixels (512 is usual)")


@dataclass(frozen=True)
class Prepared:
    """What a run found.

    Attributes:
        accepted: photos that became crops, in all runs on this output folder.
        rejected: photo → (short reason, sentence).
        resumed: photos that earlier runs had done already.
    """

    accepted: int
    rejected: dict[str, tuple[str, str]]
    resumed: int


def prepare_folder(
    photos: str | Path,
    out: str | Path,
    settings: PrepareSettings | None = None,
    engine: str = "local",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Crop every photo of a folder as PanoHead expects it (`align_portrait`), and write labels and a report.

    Writes images/NAME.EXT.png with images/dataset.json, masks/NAME.EXT.png, report.json and report.md (names that do
    not fit or are no text are changed, see `files.portable_name`). Every photo is written on its own, atomically, with
    a record of how it went; a run that was stopped in whatever way goes on there, and the result is the same. Photos
    that have changed are done again.

    Args:
        photos: searched with its subfolders.
        out: on a file system that all workers share.
        engine, workers: as for `engine.run`.
        progress: called as progress(photos done, photos).

    A photo that cannot be used, for whatever reason, is listed and never ends the run. Raises DualEncError when there
    are no photos, or ``out`` was prepared with other settings; OSError when results cannot be written.
    """
    settings = settings or PrepareSettings()
    photos, out = Path(photos).absolute(), Path(out).absolute()
    names = find_photos(photos, out)
    same_settings(out, asdict(settings))
    items, done = [], 0
    for name in names:
        made = [out / folder / f"{result_name(name)}.png" for folder in (IMAGES, MASKS)]
        if is_done(out, name, photos / name, made):
            done += 1
        else:
            items.append({"photos": str(photos), "out": str(out), "name": name, **asdict(settings)})
    count = resumed = done
    if progress is not None:
        progress(count, len(names))
    for _ in run(prepare_one, items, engine, workers):
        count += 1
        if progress is not None:
            progress(count, len(names))
    return _finish(photos, out, names, settings, resumed)


def prepare_one(item: dict[str, Any]) -> dict[str, Any]:
    """One photo of `prepare_folder`, in whatever process; returns its record, which is also written."""
    from ...export import save_alpha, save_png
    from ...portrait import align_portrait

    torch.set_flush_denormal(True)
    names = ("size", "least_confidence", "least_side", "most_outside", "most_yaw", "most_pitch")
    settings = PrepareSettings(**{name: item[name] for name in names})
    photos, out, name = Path(item["photos"]), Path(item["out"]), item["name"]
    record: dict[str, Any] = {"photo": name, "stamp": stamp(photos / name)}
    portrait = None
    try:
        portrait = align_portrait(photos / name, size=settings.size)
    except Exception as error:
        record |= rejection(error)
    if portrait is not None:
        code, reason = _verdict(portrait.report, settings)
        record |= {"status": "rejected" if code else "accepted", "code": code, "reason": reason}
        record |= {
            "confidence": round(portrait.report.confidence, 4),
            "yaw": round(portrait.report.yaw, 3),
            "pitch": round(portrait.report.pitch, 3),
            "warnings": [w.message for w in portrait.report.warnings],
        }
        if not code:
            record["label"] = [round(number, 6) for number in portrait.camera.label[0].double().tolist()]
            save_png(portrait.image[0], out / IMAGES / f"{result_name(name)}.png")
            save_alpha(portrait.matte[0], out / MASKS / f"{result_name(name)}.png")
    write_record(out, record)
    return {"photo": name, "status": record["status"]}


def _verdict(report: Report, settings: PrepareSettings) -> tuple[str, str]:
    side = report.crop[2]
    if report.confidence < settings.least_confidence:
        return "low-confidence", f"confidence {report.confidence:.2f} is below {settings.least_confidence:g}"
    if side < settings.least_side:
        return "too-small", f"the crop is {side:.0f} px wide in the photo, below {settings.least_side:g}"
    if report.outside > settings.most_outside:
        return (
            "outside",
            f"{report.outside:.0%} of the crop is outside the photo, more than {settings.most_outside:.0%}",
        )
    if abs(report.yaw) > settings.most_yaw or abs(report.pitch) > settings.most_pitch:
        return "pose", f"yaw {report.yaw:+.0f}°, pitch {report.pitch:+.0f}° are beyond what is wanted"
    return "", ""


def _finish(photos: Path, out: Path, names: list[str], settings: PrepareSettings, resumed: int) -> Prepared:
    records = all_records(out, names)
    accepted = [r for r in records if r["status"] == "accepted"]
    rejected = rejections(records)
    drop_stale(out, (r["photo"] for r in accepted), {IMAGES: ".png", MASKS: ".png"})
    cameras = {f"{result_name(r['photo'])}.png": Camera.from_label(r["label"]) for r in accepted}
    write_labels(make_folder(out / IMAGES) / FILE, cameras)
    for record in records:
        record.pop("stamp"), record.pop("label", None)
    counts = Counter(code for code, _ in rejected.values())
    report = {
        "settings": asdict(settings),
        "photos": len(names),
        "accepted": len(accepted),
        "rejected": len(rejected),
        "reasons": dict(sorted(counts.items())),
        "records": records,
    }
    write_json(out / "report.json", report)
    write_text(out / "report.md", _markdown(report))
    return Prepared(len(accepted), rejected, resumed)


def _markdown(report: dict[str, Any]) -> str:
    lines = [
        "# Prepared photos",
        "",
        f"{report['photos']} photos: {report['accepted']} accepted, {report['rejected']} rejected.",
        "",
        "| reason | photos |",
        "|---|---|",
        *(f"| {code} | {count} |" for code, count in report["reasons"].items()),
        "",
        *tables(report["records"]),
    ]
    return "\n".join(lines) + "\n"
