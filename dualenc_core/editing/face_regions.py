"""Masks of the parts of a face in a picture, from face mesh and matte; no segmentation network (portrait.md §3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..camera import Camera
from ..choices import FACE_PARTS
from ..errors import DualEncError, NoFaceError
from ..generator import PanoHead
from ..portrait.alignment import CALIBRATION
from ..portrait.faces import find_faces
from ..portrait.matting import person_matte
from ..portrait.photo import read_photo
from ..portrait.weights import load_face_model
from ..triplane import Triplane
from .hair import hair_mask

# Contours of the mesh that make up a part; each is filled as its convex hull.
_CONTOURS = {
    "eyes": ("left_eye", "right_eye"),
    "brows": ("left_brow", "right_brow"),
    "nose": ("nose",),
    "lips": ("lips",),
    "face": ("face_oval",),
}
_OUTER_EYES = (33, 263)
# Masks are drawn larger and averaged, so that their borders are smooth.
_OVERSAMPLED = 4


def face_regions(
    image: Tensor,
    *,
    matte: Tensor | None = None,
    camera: Camera | None = None,
    parts: Sequence[str] = FACE_PARTS,
    grow: float = 0.0,
    device: str | torch.device = "cpu",
) -> dict[str, Tensor]:
    """Parts of the faces in aligned portraits or renders.

    Args:
        image: [N,3,S,S] in -1..1, one face each.
        matte: [N,1,S,S] in 0..1, 1 = person, for the hair; None = found by segmentation. A render's alpha is best.
        camera: the views. Where no face is detected the average head's landmarks, seen from there, are used; without
            cameras that is an error. They fit renders of the canonical frame, and profiles only roughly.
        parts: which; some of `FACE_PARTS`.
        grow: widens eyes, brows, nose and lips, in distances of the outer eye corners (0.1 takes in the lids).
        device: where the networks run.

    Returns part → mask [N,1,S,S] in 0..1, on the CPU. "hair" is the matte without face, neck and clothes, told apart by
    colour: a help, not a truth; paint over it where it is wrong.

    Raises NoFaceError for a picture without a face, DualEncError for wrong shapes, ranges or names.
    """
    _check(image, matte, camera, parts)
    image = image.detach().float().cpu()
    found: dict[str, list[Tensor]] = {part: [] for part in parts}
    for i in range(len(image)):
        landmarks = _landmarks(image[i], None if camera is None else camera.expand(len(image))[i], str(device), i)
        size = image.shape[-1]
        drawn = {part: draw_part(landmarks, part, size, grow if part != "face" else 0.0) for part in _CONTOURS}
        if "hair" in parts:
            one = image[i : i + 1] / 2 + 0.5
            cover = person_matte(one.clamp(0, 1), str(device)) if matte is None else matte[i : i + 1].float().cpu()
            if cover.shape[-1] != size:
                cover = torch.nn.functional.interpolate(cover, (size, size), mode="bilinear", antialias=True)
            drawn["hair"] = hair_mask(one[0].clamp(0, 1), cover[0, 0].clamp(0, 1), drawn["face"], landmarks)
        for part in parts:
            found[part].append(drawn[part])
    return {part: torch.stack(masks)[:, None] for part, masks in found.items()}


@torch.no_grad()
def rendered_face_regions(
    generator: PanoHead,
    triplane: Triplane,
    camera: Camera | None = None,
    *,
    parts: Sequence[str] = FACE_PARTS,
    grow: float = 0.0,
) -> dict[str, Tensor]:
    """`face_regions` of the pictures of N heads from N cameras, or one (None = the front); the matte is the alpha."""
    camera = (Camera.look_at() if camera is None else camera).expand(len(triplane))
    view = generator.render(triplane, camera)
    alpha = torch.nn.functional.interpolate(view.alpha, view.image.shape[-2:], mode="bilinear", align_corners=False)
    device = triplane.planes.device
    return face_regions(
        view.image.clamp(-1, 1), matte=alpha.clamp(0, 1), camera=camera, parts=parts, grow=grow, device=device
    )


def _landmarks(image: Tensor, camera: Camera | None, device: str, index: int) -> np.ndarray:
    """[468,2] in pixels."""
    faces = find_faces(read_photo((image / 2 + 0.5).clamp(0, 1)), device)
    if faces:
        return faces[0].mesh.points[:, :2]
    if camera is None:
        raise NoFaceError(
            f"no face was found in picture {index}; use a view that shows the face from the front, give its camera, or "
            "paint the mask"
        )
    points = torch.from_numpy(CALIBRATION.vertices()).float()[None]
    return (camera.to("cpu").project(points)[0][0] * image.shape[-1]).double().numpy()


def draw_part(landmarks: np.ndarray, part: str, size: int, grow: float = 0.0) -> Tensor:
    """[S,S] in 0..1 of the mesh [468,2] in pixels; ``grow`` as in `face_regions`."""
    picture = Image.new("L", (size * _OVERSAMPLED,) * 2)
    pen = ImageDraw.Draw(picture)
    eyes = float(np.linalg.norm(landmarks[_OUTER_EYES[0]] - landmarks[_OUTER_EYES[1]]))
    for contour in _CONTOURS[part]:
        indices = sorted({index for edge in load_face_model().regions[contour] for index in edge})
        outline = convex_hull(landmarks[indices])
        # Pushed away from its centre by the same length everywhere.
        offset = outline - outline.mean(0)
        outline = outline + grow * eyes * offset / np.linalg.norm(offset, axis=1, keepdims=True).clip(1e-9)
        pen.polygon([tuple(point) for point in outline * _OVERSAMPLED], fill=255)
    small = picture.resize((size, size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).float() / 255


def convex_hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of [M,2] points in order (Andrew's monotone chain)."""
    ordered = sorted((float(x), float(y)) for x, y in points)

    def chain(sequence: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        hull: list[tuple[float, float]] = []
        for x, y in sequence:
            while len(hull) > 1:
                (ax, ay), (bx, by) = hull[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                hull.pop()
            hull.append((x, y))
        return hull[:-1]

    return np.array(chain(ordered) + chain(reversed(ordered)))


def _check(image: Tensor, matte: Tensor | None, camera: Camera | None, parts: Sequence[str]) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] != image.shape[3] or not len(image):
        raise DualEncError(f"image has shape {tuple(image.shape)}, expected [N,3,S,S]")
    low, high = (float(v) for v in image.aminmax())
    if not (low >= -1.05 and high <= 1.05):
        raise DualEncError(f"image has values from {low:g} to {high:g}, expected -1..1 without NaN")
    if matte is not None and (matte.ndim != 4 or matte.shape[:2] != (len(image), 1)):
        raise DualEncError(f"matte has shape {tuple(matte.shape)}, expected [{len(image)},1,S,S]")
    if camera is not None and len(camera) not in (1, len(image)):
        raise DualEncError(f"there are {len(camera)} cameras for {len(image)} pictures; expected as many, or one")
    unknown = [part for part in parts if part not in FACE_PARTS]
    if unknown or not parts:
        raise DualEncError(f"parts are {', '.join(parts) or 'none'}, expected some of {', '.join(FACE_PARTS)}")
