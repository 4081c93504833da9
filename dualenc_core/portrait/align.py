"""``align_portrait``: any photo → crop, camera, matte, overlay and report."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..camera import Camera
from ..errors import DualEncError, NoFaceError
from .alignment import camera_angles, crop_camera, crop_quad, rotation_z
from .faces import CERTAIN, LOW_CONFIDENCE, Candidate, find_faces, share_held
from .geometry import Quad
from .mask import read_mask
from .matte import LITTLE, found_matte, given_matte
from .overlay import draw_overlay
from .photo import Photo, read_photo
from .report import Face, Report, Warning

# Pixels; a face that is smaller is warned of.
_SMALL_FACE = 64
# The face mesh turns less and less with the head from here on: on rendered people 60° are seen as 56°, 75° as 62°.
_PROFILE = 55


@dataclass(frozen=True)
class Portrait:
    """An aligned portrait.

    Attributes:
        image: [1,3,size,size] in -1..1, the crop as PanoHead expects it.
        camera: one camera in PanoHead's label convention (rotation only, 2.7 from the origin, focal length 4.2647).
        matte: [1,1,size,size] in 0..1; 1 = person.
        overlay: [1,3,H,W] in 0..1; the photo (longer side at most 1024) with box, mesh, axes and crop square.
        report: what was found, and warnings.
    """

    image: Tensor
    camera: Camera
    matte: Tensor
    overlay: Tensor
    report: Report


@torch.inference_mode()
def align_portrait(
    image: str | Path | Image.Image | np.ndarray | Tensor,
    mask: Tensor | np.ndarray | Image.Image | str | Path | None = None,
    *,
    face: int | None = None,
    size: int = 512,
    yaw: float | None = None,
    pitch: float | None = None,
    roll: float | None = None,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    device: str | torch.device = "cpu",
) -> Portrait:
    """Crop and pose a photo as PanoHead expects it.

    Args:
        image: what `read_photo` takes: path, PIL image, numpy [H,W] or [H,W,1|3|4] (uint8, uint16, or float in 0..1),
            tensor [3,H,W] or [1,3,H,W] (uint8, or float in 0..1). EXIF orientation and colour profile are obeyed; grey
            is repeated; alpha is composed over white.
        mask: matte of the photo, 1 = person, as `read_mask` takes it: stored in any way, and resized to the photo.
            Default: the photo's alpha if it is a cut-out, else selfie segmentation, within the alpha if there is one.
        face: which face of ``report.faces``; default: the one that the mask holds, else the largest, most central one.
        size: side of the crop, px.
        yaw, pitch, roll: degrees; replace the estimated angles of the camera (``Camera.look_at``). Without a face in
            the photo, giving yaw or pitch makes the photo's central square the crop.
        scale: multiplies the crop's side: above 1 shows more surroundings (smaller head).
        shift: moves the crop, in crop sides (right, down).
        device: where the networks run; all results are on the CPU.

    Raises:
        NoFaceError: no face was found and no angles were given.
        DualEncError: an input of the wrong kind, shape, range or size; ``face`` out of range; a mask that is empty, is
            inverted, or holds nothing of the face.
    """
    _check_options(size, scale, shift, yaw=yaw, pitch=pitch, roll=roll)
    device = str(device)
    photo = read_photo(image)
    given_mask = None if mask is None else read_mask(mask)
    candidates = find_faces(photo, device, given_mask)
    _check_alpha(photo, candidates, device)
    shares = [] if given_mask is None else [share_held(given_mask, c, photo) for c in candidates]
    index = _choose(candidates, face, photo, shares, by_hand=yaw is not None or pitch is not None)
    chosen = None if index is None else candidates[index]
    if chosen is None:
        side = min(photo.width, photo.height) * scale / 2
        centre = np.array([photo.width / 2, photo.height / 2]) + 2 * side * np.array(shift)
        quad = Quad(centre, np.array([side, 0.0]), np.array([0.0, side]))
        angles = (0.0, 0.0, 0.0)
    else:
        quad = crop_quad(chosen.pose, scale, shift)
        angles = camera_angles(crop_camera(chosen.pose))
    given = (yaw, pitch, roll)
    if chosen is None or any(g is not None for g in given):
        yaw, pitch, roll = (float(a if g is None else g) for a, g in zip(angles, given, strict=True))
        angles = yaw, pitch, roll
        camera = Camera.look_at(*angles)
    else:
        camera = crop_camera(chosen.pose)
    found = Found(tuple(candidates), index, shares, angles)
    return _portrait(photo, given_mask, quad, camera, size, device, found, several=face is None)


@torch.inference_mode()
def align_like(
    image: str | Path | Image.Image | np.ndarray | Tensor,
    portrait: Portrait,
    mask: Tensor | np.ndarray | Image.Image | str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Portrait:
    """Crop a photo as another one was, with the same camera: a frame of a video in which no face is found.

    Args:
        image, mask, device: as for `align_portrait`.
        portrait: of a photo of the same size.

    Raises DualEncError as `align_portrait` does, and for a photo of another size.
    """
    photo = read_photo(image)
    if (photo.width, photo.height) != portrait.report.photo:
        width, height = portrait.report.photo
        raise DualEncError(
            f"the photo is {photo.width}×{photo.height}, the one whose crop it shall have is {width}×{height} pixels; "
            "both must have the same size"
        )
    report = portrait.report
    x, y = report.crop[2] / 2 * rotation_z(report.tilt)[:2, :2].T
    quad = Quad(np.array(report.crop[:2]), x, y)
    found = Found((), None, [], (report.yaw, report.pitch, report.roll), report.tilt)
    given_mask = None if mask is None else read_mask(mask)
    size = portrait.image.shape[-1]
    return _portrait(photo, given_mask, quad, portrait.camera, size, str(device), found, like=True)


@dataclass(frozen=True)
class Found:
    """What a search has found: the faces, the chosen one, the share of each that the mask holds, the camera's angles,
    and the turn of the crop where no face says it."""

    candidates: tuple[Candidate, ...]
    chosen: int | None
    shares: list[float]
    angles: tuple[float, float, float]
    tilt: float = 0.0


def _portrait(
    photo: Photo,
    mask: Photo | None,
    quad: Quad,
    camera: Camera,
    size: int,
    device: str,
    found: Found,
    several: bool = False,
    like: bool = False,
) -> Portrait:
    """Crop, matte, overlay and report."""
    chosen = None if found.chosen is None else found.candidates[found.chosen]
    points = None if chosen is None else chosen.mesh.points
    matrix = quad.matrix(size)
    crop, covered = _crop(photo, matrix, size)
    if mask is not None:
        other = next((i for i, share in enumerate(found.shares) if i != found.chosen and share >= LITTLE), None)
        matte = given_matte(mask, photo, quad, size, points, other)
    else:
        alpha = None if photo.alpha is None else photo.alpha.window(matrix, size)
        matte = found_matte(crop, alpha, covered, matrix, points, device)
    faces = tuple(Face(c.mesh.box, c.confidence, camera_angles(crop_camera(c.pose))[0]) for c in found.candidates)
    report = Report(
        confidence=0.0 if chosen is None else chosen.confidence,
        yaw=found.angles[0],
        pitch=found.angles[1],
        roll=found.angles[2],
        tilt=found.tilt if chosen is None else chosen.pose.tilt,
        scale=size / quad.side,
        crop=(float(quad.centre[0]), float(quad.centre[1]), quad.side),
        outside=1 - float(covered.mean()),
        photo=(photo.width, photo.height),
        faces=faces,
        chosen=found.chosen,
    )
    warnings = _warnings(report, photo.notes, matte.remarks, several, like)
    boxes = [f.box for f in faces]
    overlay = draw_overlay(photo, quad, boxes, found.chosen, points, None if chosen is None else chosen.pose)
    return Portrait(crop * 2 - 1, camera, matte.values, overlay, dataclasses.replace(report, warnings=warnings))


def _choose(
    candidates: list[Candidate], face: int | None, photo: Photo, shares: list[float], by_hand: bool
) -> int | None:
    if face is not None and candidates and not 0 <= face < len(candidates):
        raise DualEncError(f"face is {face}, but {len(candidates)} face(s) were found: use 0..{len(candidates) - 1}")
    if face is None and shares:
        return next((i for i, share in enumerate(shares) if share >= LITTLE), int(np.argmax(shares)))
    if candidates:
        return face or 0
    if by_hand:
        return None
    hidden = 0.0 if photo.alpha is None else _transparent(photo.alpha)
    raise NoFaceError(
        f"no face was found in the {photo.width}×{photo.height} photo (also not in tiles, turned or mirrored copies"
        + (f"; {hidden:.0%} of it is transparent, where a face cannot be seen" if hidden > 0.05 else "")
        + "); use a photo where the face is visible, or crop it to a square around the head; if that is not enough, "
        "give the angles of the crop by hand, for example yaw=0, pitch=0 (scale= and shift= then place it)"
    )


def _check_alpha(photo: Photo, candidates: list[Candidate], device: str) -> None:
    """Raise DualEncError when the face lies under what the photo's alpha makes transparent."""
    if photo.uncomposed is None or photo.alpha is None or any(c.confidence >= CERTAIN for c in candidates):
        return
    for candidate in find_faces(Photo(photo.uncomposed), device):
        share = share_held(photo.alpha, candidate, photo)
        if candidate.confidence >= CERTAIN and share < LITTLE:
            raise DualEncError(
                f"the photo's alpha makes {1 - share:.0%} of the face transparent, as if it were inverted; save the "
                "photo without alpha, or with one that is opaque on the person"
            )


def _transparent(alpha: Photo) -> float:
    """Share of the photo that cannot be seen."""
    small = alpha.reduced(256).pixels
    return float((small < 0.5 * small.max()).mean())


def _crop(photo: Photo, matrix: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """The window and where it lies on the photo; outside, mirrored and blurred surroundings (panohead.md §10.4)."""
    crop = photo.window(matrix, size, border="reflection")
    covered = photo.covered(matrix, size)
    if bool((covered < 1).any()):
        soft = _box_blur(covered, int(size * 0.02) * 2 + 1)
        crop = crop * soft + _box_blur(crop, int(size * 0.03) * 2 + 1) * (1 - soft)
    return crop, covered


def _box_blur(image: Tensor, window: int) -> Tensor:
    return F.avg_pool2d(F.pad(image, [window // 2] * 4, mode="reflect"), window, 1)


def _warnings(
    report: Report, notes: tuple[str, ...], matte: tuple[Warning, ...], several: bool, like: bool
) -> tuple[Warning, ...]:
    found = [remark for remark in matte if remark.code == "little-matte"]
    if like:
        found.append(Warning("previous", "no face was found: the crop and the camera are those of another picture"))
    elif report.chosen is None:
        found.append(Warning("by-hand", "no face was found: the crop and the camera are as given by hand"))
    else:
        chosen = report.faces[report.chosen]
        if report.confidence < LOW_CONFIDENCE:
            found.append(
                Warning("low-confidence", f"confidence {report.confidence:.2f}: check the overlay; override the angles")
            )
        if abs(chosen.yaw) > _PROFILE:
            found.append(
                Warning(
                    "profile",
                    f"yaw {chosen.yaw:+.0f}° is beyond ±{_PROFILE}°: the hidden half is a guess, and yaw comes out too "
                    "small (62° for 75°): look at the axes of the overlay, and give it by hand if they are off",
                )
            )
        if chosen.size < _SMALL_FACE:
            found.append(
                Warning("small-face", f"the face is {chosen.size:.0f} px, below {_SMALL_FACE} px: use a larger photo")
            )
        if abs(report.tilt) > 45:
            found.append(
                Warning("turned", f"the photo lies on its side or head; the crop is turned by {report.tilt:+.0f}°")
            )
    if len(report.faces) > 1 and several:
        central = "the largest central one is used"
        how = central if report.chosen in (0, None) else "the one that the mask holds is used"
        boxes = "; ".join(
            f"{i}: ({f.box[0]:.0f}, {f.box[1]:.0f})-({f.box[2]:.0f}, {f.box[3]:.0f})"
            for i, f in enumerate(report.faces)
        )
        found.append(
            Warning(
                "several-faces",
                f"{len(report.faces)} faces, {how}; face= picks another: {boxes}",
            )
        )
    if report.outside > 0.02:
        found.append(
            Warning("outside", f"{report.outside:.0%} of the crop lies outside the photo and is filled by mirroring")
        )
    found += [remark for remark in matte if remark.code not in ("little-matte", "note")]
    told = [Warning("note", note) for note in notes]
    return (*found, *told, *(remark for remark in matte if remark.code == "note"))


def _check_options(size: int, scale: float, shift: tuple[float, float], **angles: float | None) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or not 16 <= size <= 4096:
        raise DualEncError(f"size is {size!r}, expected whole pixels in 16..4096 (512 is usual)")
    if not (math.isfinite(scale) and 0.1 <= scale <= 10):
        raise DualEncError(f"scale is {scale!r}, expected 0.1..10 (1 = as estimated)")
    if len(shift) != 2 or not all(math.isfinite(s) and abs(s) <= 5 for s in shift):
        raise DualEncError(f"shift is {shift!r}, expected (right, down) in crop sides, each within ±5")
    for name, value in angles.items():
        if value is not None and not (math.isfinite(value) and abs(value) <= 360):
            raise DualEncError(f"{name} is {value!r}, expected degrees within ±360, or None for the estimate")
