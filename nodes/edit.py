"""Parts of heads: found or painted, and put on other heads."""

from __future__ import annotations

import torch

from .. import dualenc_core as dc
from ..dualenc_core.choices import BACK, FACE_PARTS, MATCHES, NO_MATCH, RECIPE_PARTS, SEAMS
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import CAMERA, ENCODER, GENERATOR, MASK, TRIPLANE, choice, decimal, socket, switch

PAINTED, BACK_OF_HEAD = "painted", "back of the head"


class DualEncRegionMask:
    """A part of a head → mask."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Marks a part of a head, all round: one that is found by itself (hair, eyes, …), the back of the head, or what "
        "you paint on a picture of it. The node shows the part in red from four sides."
    )
    SEARCH_ALIASES = ["segment head", "hair mask", "face mask", "face parsing", "select region", "triplane mask"]
    RETURN_TYPES = (MASK, "IMAGE")
    RETURN_NAMES = ("mask", "preview")
    OUTPUT_TOOLTIPS = ("The part, for DualEnc Transfer Region and Blend.", "The head from four sides; red = the part.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head or heads."),
                "part": choice(
                    (*FACE_PARTS, BACK_OF_HEAD, PAINTED),
                    "What to mark: hair, face, eyes, brows, nose or lips as they are found from the front; back of the "
                    "head: what lies behind the ears; painted: the mask below, seen from the camera below.",
                ),
                "all_round": switch(
                    True, "Continue the part to the sides that no picture shows: needed for hair and for painted masks."
                ),
                "precise": switch(
                    False,
                    "Mark points in space instead of tri-grid cells: sharper, but the edited head takes twice the "
                    "memory and time.",
                ),
                "grow": decimal(
                    0.0,
                    -0.1,
                    0.3,
                    0.01,
                    "Grows (+) or shrinks (-) face, eyes, brows, nose and lips, in face sizes.",
                    advanced=True,
                ),
            },
            "optional": {
                "mask": socket("MASK", "painted: the part on pictures of the head, 1 = part; one for each camera."),
                "camera": socket(CAMERA, "painted: the cameras of those pictures; otherwise not used."),
            },
        }

    def run(self, generator, triplane, part, all_round, precise, grow, mask=None, camera=None):
        device = runtime.use(generator)
        network, head = generator.module, triplane.to(device)
        report = runtime.percent()
        if part == PAINTED:
            masks, cameras = painted(mask, camera, device)
            if all_round:
                masks, cameras = dc.editing.complete_views(network, head, masks, cameras, progress=report)
            find = dc.editing.region_volume if precise else dc.editing.region_mask
            region = find(network, head, masks, cameras, progress=report)
        else:
            name = BACK if part == BACK_OF_HEAD else part
            options = {"precise": precise, "all_round": all_round, "grow": grow, "progress": report}
            region = dc.editing.find_part(network, head, name, **options)
        front = dc.Camera.look_at()
        preview = images.around(lambda turn: dc.inversion.mask_preview(network, head, region, front, turn))
        return {"ui": {"images": images.shown(preview, "dualenc_region")}, "result": (runtime.rest(region), preview)}


def painted(mask, camera, device):
    """Masks [V,h,w] and their V cameras."""
    if mask is None or camera is None:
        raise DualEncError("part is 'painted': connect the painted mask and the camera of the picture it is on")
    masks = images.mask_to_core(mask)
    if masks is None:
        raise DualEncError(
            "part is 'painted', but the mask is what Load Image gives for a picture without alpha: nothing; paint it "
            "in the mask editor"
        )
    if len(masks) != len(camera):
        raise DualEncError(f"there are {len(masks)} masks for {len(camera)} cameras; expected one for each")
    return masks[:, 0].to(device), camera.to(device)


class DualEncTransferRegion:
    """A part of one head onto another."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Gives a head a part of another one, hair above all, and treats the seam. The result is a whole head. Without "
        "masks the part is found by itself on both heads."
    )
    SEARCH_ALIASES = [
        "hair transfer",
        "hairstyle",
        "change hair",
        "swap hair",
        "face swap",
        "reference editing",
        "copy part",
    ]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The target with the part of the reference.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made both heads."),
                "target": socket(TRIPLANE, "The head that is changed: it keeps its face."),
                "reference": socket(TRIPLANE, "The head that gives the part."),
                "recipe": choice(tuple(RECIPE_PARTS), "The part: it decides the width of the seam, and what is found."),
                "seam": choice(
                    SEAMS,
                    "feather: mixes both heads there; refine: the generator's own head that fits best, slower; "
                    "implicit: what the encoder makes of a picture of the mixed head.",
                ),
                "feather": decimal(1.0, 0.0, 4.0, 0.05, "Factor on the width of the seam; 0 = a hard edge."),
                "align": switch(
                    False, "Bring the reference's face onto the target's first, for heads of different size or place."
                ),
                "match": choice(
                    (*MATCHES, NO_MATCH),
                    "Colours of the part. surroundings: the skin around it takes the target's tone; reference: as on "
                    "the reference; region: as the part had on the target; nothing: raw features, whose colours may "
                    "change.",
                ),
            },
            "optional": {
                "mask": socket(MASK, "The part on the reference, from DualEnc Region Mask; without it, it is found."),
                "target_mask": socket(
                    MASK,
                    "The same part on the target, so that it goes too: long hair under short. Without any mask it is "
                    "found.",
                ),
                "encoder": socket(ENCODER, "For the seam implicit: Encoder 2."),
            },
        }

    def run(
        self,
        generator,
        target,
        reference,
        recipe,
        seam,
        feather,
        align,
        match,
        mask=None,
        target_mask=None,
        encoder=None,
    ):
        if seam == "implicit" and encoder is None:
            raise DualEncError("seam 'implicit' needs an encoder: connect Encoder 2, or choose feather")
        device = runtime.use(*(network for network in (generator, encoder) if network is not None))
        target, reference = target.to(device), reference.to(device)
        report = runtime.percent()
        masks = [runtime.move(given, device) for given in (mask, target_mask) if given is not None]
        if mask is None:
            heads = (reference,) if masks else (reference, target)
            # Masks of one kind can be joined.
            precise = bool(masks) and not isinstance(masks[0], dc.TriplaneMask)
            masks += [found(generator.module, head, recipe, precise, report) for head in heads]
        region = dc.editing.union(*masks)
        # Refining computes gradients, which ComfyUI's inference mode forbids, also for tensors made in it.
        with torch.inference_mode(False):
            result = dc.editing.transfer(
                generator.module,
                runtime.free(target),
                runtime.free(reference),
                runtime.free(region),
                recipe,
                seam,
                feather=feather,
                align="face" if align else None,
                match=None if match == NO_MATCH else match,
                encoder=None if encoder is None else encoder.module,
                progress=report,
            )
        return (runtime.rest(result),)


def found(network, head, recipe, precise, report):
    """The part of a recipe on a head."""
    if RECIPE_PARTS[recipe] is None:
        raise DualEncError(f"{recipe} are not found by themselves; connect a painted mask from DualEnc Region Mask")
    return dc.editing.find_part(network, head, RECIPE_PARTS[recipe], precise=precise, progress=report)
