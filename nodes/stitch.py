"""What the photo shows, and joining two heads by it."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.choices import STITCHES
from . import images, runtime
from .inputs import CAMERA, GENERATOR, MASK, TRIPLANE, choice, decimal, hidden_colours, socket, whole


class DualEncOcclusionMask:
    """Head and input view → what the view does not show."""

    CATEGORY = "DualEnc/inversion"
    DESCRIPTION = (
        "Finds what the photo shows of a head and what it does not. The preview shows the head from four sides, the "
        "hidden part in red."
    )
    SEARCH_ALIASES = ["visibility", "occlusion", "stitching mask", "hidden part"]
    RETURN_TYPES = (MASK, "IMAGE")
    RETURN_NAMES = ("mask", "preview")
    OUTPUT_TOOLTIPS = ("The mask, for DualEnc Stitch.", "The head from four sides; red = hidden from the photo.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head of Encoder 1, whose surface is the photo's."),
                "camera": socket(CAMERA, "The camera of the portrait."),
                "mode": choice(STITCHES, "points: visibility of points in space; cells: the mask of the paper."),
                "tolerance": decimal(
                    0.04,
                    0.0,
                    0.5,
                    0.005,
                    "points: how far behind the surface still counts as seen (a head is 0.3 deep).",
                    advanced=True,
                ),
                "softness": decimal(
                    0.015, 0.001, 0.5, 0.001, "points: width of the transition, same units.", advanced=True
                ),
                "grow": whole(0, 0, 64, "cells: by how many cells the visible part grows.", advanced=True),
                "feather": whole(
                    -1, -1, 64, "cells: half the width of the soft border in cells; -1 = by plane size.", advanced=True
                ),
            }
        }

    def run(self, generator, triplane, camera, mode, tolerance, softness, grow, feather):
        device = runtime.use(generator)
        network, triplane, camera = generator.module, triplane.to(device), camera.to(device)
        report = runtime.percent()
        if mode == "points":
            mask = dc.visibility(network, triplane, camera, tolerance, softness, progress=report)
        else:
            feather = None if feather < 0 else feather
            mask = dc.occlusion_mask(network, triplane, camera, dilation=grow, softness=feather, progress=report)
        preview = images.around(lambda turn: dc.inversion.mask_preview(network, triplane, mask, camera, turn))
        return runtime.rest(mask), preview


class DualEncStitch:
    """Two heads → one."""

    CATEGORY = "DualEnc/inversion"
    DESCRIPTION = "Joins two heads: the first where the photo shows it, the second everywhere else."
    SEARCH_ALIASES = ["combine triplanes", "merge heads", "triplane stitching"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The stitched head.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "visible": socket(TRIPLANE, "The head for what the photo shows (Encoder 1)."),
                "occluded": socket(TRIPLANE, "The head for what the photo does not show (Encoder 2)."),
                "mask": socket(MASK, "From DualEnc Occlusion Mask."),
            },
            "optional": {
                "generator": socket(
                    GENERATOR, "The generator of both heads: with it, hidden parts take on the colours of visible ones."
                ),
                "hidden_colours": hidden_colours(),
            },
        }

    def run(self, visible, occluded, mask, generator=None, hidden_colours=1.0):
        # The paper's mask over cells joins heads as they are.
        if generator is not None and not isinstance(mask, dc.TriplaneMask):
            device = runtime.use(generator)
            visible, occluded, mask = (runtime.move(value, device) for value in (visible, occluded, mask))
            occluded = dc.match_hidden_colours(generator.module, visible, occluded, mask, hidden_colours)
        return (runtime.rest(dc.stitch(visible, occluded, mask)),)
