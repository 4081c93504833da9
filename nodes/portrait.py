"""Any photo → aligned portrait."""

from __future__ import annotations

import dataclasses

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError, NoFaceError
from . import images, runtime
from .inputs import CAMERA, choice, decimal, socket, whole

ESTIMATED, BY_HAND = "estimated", "by hand"


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
    RETURN_TYPES = ("IMAGE", CAMERA, "MASK", "IMAGE", "STRING")
    RETURN_NAMES = ("portrait", "camera", "matte", "overlay", "report")
    OUTPUT_TOOLTIPS = (
        "The aligned square crop.",
        "The camera from which the crop shows the head.",
        "The person in the crop: 1 = person.",
        "The photo with face box, face mesh, pose axes and crop square.",
        "What was found, how certain it is, and warnings.",
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
                    "The person in the photo, 1 = person, of the photo's size. Without it the person is found. "
                    "(Load Image gives 1 where the picture is transparent: invert that one.)",
                )
            },
        }

    def run(self, image, face, pose, yaw, pitch, roll, scale, shift_x, shift_y, size, mask=None):
        images.to_core(image)  # checks the shape
        angles = {"yaw": yaw, "pitch": pitch, "roll": roll} if pose == BY_HAND else {}
        mattes = None if mask is None else images.mask_to_core(mask)
        if mattes is not None and len(mattes) not in (1, len(image)):
            raise DualEncError(f"there are {len(mattes)} masks for {len(image)} images; expected as many, or one")
        report = runtime.progress(len(image))
        portraits = []
        for i, photo in enumerate(image):
            try:
                portrait = dc.align_portrait(
                    photo.movedim(-1, 0).float(),
                    mask=None if mattes is None else mattes[min(i, len(mattes) - 1), 0],
                    face=None if face < 0 else face,
                    size=size,
                    scale=scale,
                    shift=(shift_x, shift_y),
                    device=runtime.compute_device(),
                    **angles,
                )
            except NoFaceError as error:
                raise NoFaceError(f"image {i + 1} of {len(image)}: {_for_nodes(error)}") from error
            portraits.append(portrait)
            report(i + 1, len(image))
        texts = [p.report.text for p in portraits]
        text = texts[0] if len(texts) == 1 else "\n\n".join(f"image {i}: {t}" for i, t in enumerate(texts, start=1))
        overlay = _one_size([p.overlay for p in portraits])
        result = (
            images.to_comfy(torch.cat([p.image for p in portraits])),
            dc.Camera.cat([p.camera for p in portraits]),
            images.mask_to_comfy(torch.cat([p.matte for p in portraits])),
            images.to_comfy(overlay, low=0.0),
            text,
        )
        ui = {
            "images": images.shown(result[3], "dualenc_overlay"),
            "text": [text],
            "dualenc_warnings": [w.message for p in portraits for w in p.report.warnings if w.code != "note"],
            "alignment": [dataclasses.asdict(p.report) for p in portraits],
        }
        return {"ui": ui, "result": result}


def _for_nodes(error: NoFaceError) -> str:
    """The library's message in the words of the widgets."""
    first = str(error).split(";")[0]
    return (
        f"{first}. Use a photo where the face is visible; or crop it to a square around the head, set pose to "
        f"'{BY_HAND}', and give yaw and pitch (scale and shift then place the crop)"
    )


def _one_size(overlays: list[torch.Tensor]) -> torch.Tensor:
    """Pictures of several sizes as one batch, centred on black."""
    height, width = max(o.shape[2] for o in overlays), max(o.shape[3] for o in overlays)
    batch = torch.zeros(len(overlays), 3, height, width)
    for place, overlay in zip(batch, overlays, strict=True):
        top, left = (height - overlay.shape[2]) // 2, (width - overlay.shape[3]) // 2
        place[:, top : top + overlay.shape[2], left : left + overlay.shape[3]] = overlay[0]
    return batch
