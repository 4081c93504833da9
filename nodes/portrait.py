"""Any photo → aligned portrait."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError, NoFaceError
from . import images, runtime
from .inputs import CAMERA, choice, decimal, socket, whole

ESTIMATED, BY_HAND = "estimated", "by hand"
ERROR, SKIP, PREVIOUS = "error", "skip", "previous camera"


class DualEncAlignPortrait:
    """IMAGE → crop, camera, matte, overlay, report."""

    CATEGORY = "DualEnc/portrait"
    DESCRIPTION = (
        "Finds the face in a photo, crops it as PanoHead expects it, and estimates the camera. Look at the overlay: "
        "when box, mesh and axes sit on the face, the head will be right."
    )
    SEARCH_ALIASES = [
        "face crop",
        "crop face",
        "face detection",
        "detect face",
        "find face",
        "head pose",
        "align face",
        "face alignment",
        "portrait",
    ]
    RETURN_TYPES = ("IMAGE", CAMERA, "MASK", "IMAGE", "STRING", "STRING")
    RETURN_NAMES = ("portrait", "camera", "matte", "overlay", "report", "kept")
    OUTPUT_TOOLTIPS = (
        "The aligned square crop.",
        "The camera from which the crop shows the head.",
        "The person in the crop: 1 = person.",
        "The photo with face box, face mesh, pose axes and crop square.",
        "What was found, how certain it is, and warnings.",
        "Which images these are, from 0, such as 0, 1, 3: on_no_face skip leaves some out.",
    )
    FUNCTION = "run"
    # So that overlay and report come again when the result is served from the cache.
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": socket("IMAGE", "A photo with a face; several images are aligned one by one."),
                "face": whole(
                    -1, -1, 63, "Which face when there are several: the overlay numbers them; -1 = the main one."
                ),
                "pose": choice(
                    (ESTIMATED, BY_HAND), "By hand: yaw, pitch and roll below are used instead of the estimate."
                ),
                "yaw": decimal(
                    0.0,
                    -180.0,
                    180.0,
                    0.1,
                    "Camera yaw in degrees when by hand; + = right of the front: the nose points left.",
                ),
                "pitch": decimal(0.0, -90.0, 90.0, 0.1, "Camera pitch in degrees when by hand; + = from above."),
                "roll": decimal(0.0, -180.0, 180.0, 0.1, "Camera roll in degrees when by hand."),
                "scale": decimal(1.0, 0.2, 5.0, 0.01, "Size of the crop: above 1 shows more around a smaller head."),
                "shift_x": decimal(0.0, -2.0, 2.0, 0.01, "Moves the crop to the right, in crop widths."),
                "shift_y": decimal(0.0, -2.0, 2.0, 0.01, "Moves the crop down, in crop heights."),
                "size": whole(512, 128, 2048, "Side of the crop in pixels.", step=64, advanced=True),
            },
            "optional": {
                "mask": socket(
                    "MASK",
                    "The person in the photo, 1 = person; resized to the photo. Without it the person is found. "
                    "(Load Image gives 1 where the picture is transparent: invert that one.)",
                ),
                "on_no_face": choice(
                    (ERROR, SKIP, PREVIOUS),
                    "An image without a face, such as a frame of a video: error stops; skip leaves it out; previous "
                    "camera crops it as the image before.",
                ),
            },
        }

    def run(
        self, image, face, pose, yaw, pitch, roll, scale, shift_x, shift_y, size, mask=None, on_no_face=ERROR
    ):  # fmt: skip
        images.check(image)
        options = {"face": None if face < 0 else face, "size": size, "scale": scale, "shift": (shift_x, shift_y)}
        if pose == BY_HAND:
            options |= {"yaw": yaw, "pitch": pitch, "roll": roll}
        found = _align(image, images.mask_to_core(mask, len(image)), on_no_face, options)
        kept, portraits = sorted(found), [found[i] for i in sorted(found)]
        texts = [p.report.text for p in portraits]
        text = texts[0]
        if len(image) > 1:
            text = "\n\n".join(f"image {i + 1}: {t}" for i, t in zip(kept, texts, strict=True))
        if skipped := [i + 1 for i in range(len(image)) if i not in found]:
            text += f"\n\nno face, left out: image {', '.join(map(str, skipped))}"
        overlay = _one_size([p.overlay for p in portraits])
        result = (
            images.to_comfy(torch.cat([p.image for p in portraits])),
            dc.Camera.cat([p.camera for p in portraits]),
            images.mask_to_comfy(torch.cat([p.matte for p in portraits])),
            images.to_comfy(overlay, low=0.0),
            text,
            ", ".join(map(str, kept)),
        )
        ui = {
            "images": images.shown(result[3], "dualenc_overlay"),
            "text": [text],
            "dualenc_warnings": [w.message for p in portraits for w in p.report.warnings if w.code != "note"],
            "alignment": [dataclasses.asdict(p.report) for p in portraits],
            "kept": kept,
        }
        return {"ui": ui, "result": result}


def _align(image, mattes, on_no_face, options):
    """Portraits by the number of their image."""
    device, count = runtime.compute_device(), len(image)
    report = runtime.progress(count)
    found, faceless = {}, {}

    def of(i):
        mask = None if mattes is None else mattes[min(i, len(mattes) - 1), 0]
        return {"image": image[i].movedim(-1, 0).float(), "mask": mask, "device": device}

    for i in range(count):
        with _named(i, count):
            try:
                found[i] = dc.align_portrait(**of(i), **options)
            except NoFaceError as error:
                faceless[i] = error
                if on_no_face == ERROR or len(faceless) == count:
                    raise
        report(i + 1, count)
    if on_no_face == PREVIOUS:
        for i in faceless:
            # Before the first face there is only the one that comes.
            before = max((other for other in found if other < i), default=min(found))
            with _named(i, count):
                found[i] = dc.portrait.align_like(portrait=found[before], **of(i))
    return found


@contextlib.contextmanager
def _named(index, count):
    """Errors say which image of the batch it is, in the words of the widgets."""
    name = f"image {index + 1} of {count}: " if count > 1 else ""
    try:
        yield
    except NoFaceError as error:
        raise NoFaceError(f"{name}{_for_nodes(error, count)}") from error
    except DualEncError as error:
        raise type(error)(f"{name}{error}") from error


def _for_nodes(error: NoFaceError, count: int) -> str:
    """The library's message in the words of the widgets."""
    first = str(error).split("; use a photo")[0]
    frames = f"; or set on_no_face to '{SKIP}' or '{PREVIOUS}', for single frames of a video" if count > 1 else ""
    return (
        f"{first}. Use a photo where the face is visible, or crop it to a square around the head; if that is not "
        f"enough, set pose to '{BY_HAND}', and give yaw and pitch (scale and shift then place the crop){frames}"
    )


def _one_size(overlays: list[torch.Tensor]) -> torch.Tensor:
    """Pictures of several sizes as one batch, centred on black."""
    height, width = max(o.shape[2] for o in overlays), max(o.shape[3] for o in overlays)
    batch = torch.zeros(len(overlays), 3, height, width)
    for place, overlay in zip(batch, overlays, strict=True):
        top, left = (height - overlay.shape[2]) // 2, (width - overlay.shape[3]) // 2
        place[:, top : top + overlay.shape[2], left : left + overlay.shape[3]] = overlay[0]
    return batch
