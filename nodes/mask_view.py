"""Parts of heads → masks of pictures."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import CAMERA, GENERATOR, MASK, TRIPLANE, decimal, socket


class DualEncMaskView:
    """A part of a head and cameras → MASK."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Draws a part of a head as a mask, from any camera: for inpainting, control images and compositing with "
        "ComfyUI's own nodes."
    )
    SEARCH_ALIASES = ["part mask", "hair mask image", "segmentation", "inpaint mask", "render mask", "mask to image"]
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask_image",)
    OUTPUT_TOOLTIPS = ("The part as each camera sees it: 1 = the part; of the size of a render.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head that the part was marked on."),
                "mask": socket(MASK, "The part, from DualEnc Region Mask or Occlusion Mask."),
                "camera": socket(CAMERA, "One camera, or as many as masks are wanted."),
                "threshold": decimal(
                    0.0,
                    0.0,
                    1.0,
                    0.05,
                    "Above 0: a hard mask of what belongs to the part at least so far.",
                ),
            }
        }

    def run(self, generator, triplane, mask, camera, threshold):
        if len(triplane) != 1:
            raise DualEncError(f"triplane has {len(triplane)} heads, expected the one that the part was marked on")
        device = runtime.use(generator)
        head, part = triplane.to(device), runtime.move(mask, device)
        report = runtime.progress(len(camera))
        seen = dc.inversion.mask_view(generator.module, head, part, camera, progress=report)
        if threshold > 0:
            seen = (seen >= threshold).float()
        return (images.mask_to_comfy(seen),)
