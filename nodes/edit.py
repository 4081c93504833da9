"""Heads → other heads: regions, transfer of parts, blends, mirror images, styles."""

from __future__ import annotations

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import CAMERA, ENCODER, GENERATOR, MASK, TRIPLANE, choice, decimal, socket, switch, text, whole

PAINTED, BACK = "painted", "back of the head"
PARTS = ("hair", "face", "eyes", "brows", "nose", "lips")
RECIPES = ("hair", "eyes", "mouth", "nose", "glasses")
SEAMS = ("feather", "refine", "implicit")
MATCHES = ("surroundings", "reference", "region", "nothing")


class DualEncRegionMask:
    """A part of a head → mask."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Marks a part of a head, all round: one that is found by itself (hair, eyes, …), the back of the head, or what "
        "you paint on a picture of it. The preview shows the part in red from four sides."
    )
    SEARCH_ALIASES = ["segment head", "hair mask", "face parsing", "select region", "triplane mask"]
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
                    (*PARTS, BACK, PAINTED), "What to mark. painted: the mask below, as seen from the camera below."
                ),
                "all_round": switch(
                    True, "Continue the part to the sides that no picture shows: needed for hair and for painted masks."
                ),
                "precise": switch(
                    False, "Mark points in space instead of tri-grid cells: sharper, for Transfer Region and Blend."
                ),
                "grow": decimal(0.0, -0.1, 0.3, 0.01, "Grows what is found, in face sizes.", advanced=True),
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
            name = "back" if part == BACK else part
            options = {"precise": precise, "all_round": all_round, "grow": grow, "progress": report}
            region = dc.editing.find_part(network, head, name, **options)
        front = dc.Camera.look_at()
        preview = images.around(lambda turn: dc.inversion.mask_preview(network, head, region, front, turn))
        return runtime.rest(region), preview


def painted(mask, camera, device):
    """Masks [V,h,w] and their V cameras."""
    if mask is None or camera is None:
        raise DualEncError("part is 'painted': connect the painted mask and the camera of the picture it is on")
    masks = images.mask_to_core(mask)
    if len(masks) != len(camera):
        raise DualEncError(f"there are {len(masks)} masks for {len(camera)} cameras; expected one for each")
    return masks[:, 0].to(device), camera.to(device)


class DualEncTransferRegion:
    """A part of one head onto another."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = "Gives a head a part of another one, hair above all, and treats the seam. The result is a whole head."
    SEARCH_ALIASES = ["hair transfer", "hairstyle", "swap", "reference editing", "copy part"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The target with the part of the reference.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made both heads."),
                "target": socket(TRIPLANE, "The head that is changed."),
                "reference": socket(TRIPLANE, "The head that gives the part."),
                "mask": socket(MASK, "The part on the reference, from DualEnc Region Mask."),
                "recipe": choice(RECIPES, "Widths of the seam that suit the part."),
                "seam": choice(
                    SEAMS,
                    "feather: mixes both heads; refine: the generator's own head that fits best there, slower; "
                    "implicit: what the encoder makes of a picture of the mixed head.",
                ),
                "feather": decimal(1.0, 0.0, 4.0, 0.05, "Factor on the width of the seam; 0 = a hard edge."),
                "align": switch(False, "Bring the reference's face onto the target's first (scale and shift)."),
                "match": choice(
                    MATCHES,
                    "Colours of the part. surroundings: the skin around it takes the target's tone; reference: as on "
                    "the reference; region: as on the target; nothing: raw features, whose colours may change.",
                ),
            },
            "optional": {
                "target_mask": socket(MASK, "The same part on the target, so that it goes too: long hair under short."),
                "encoder": socket(ENCODER, "For the seam 'implicit': Encoder 2."),
            },
        }

    def run(
        self,
        generator,
        target,
        reference,
        mask,
        recipe,
        seam,
        feather,
        align,
        match,
        target_mask=None,
        encoder=None,
    ):
        networks = (generator,) if encoder is None else (generator, encoder)
        device = runtime.use(*networks)
        region = runtime.move(mask, device)
        if target_mask is not None:
            region = dc.editing.union(region, runtime.move(target_mask, device))
        # Refining computes gradients, which ComfyUI's inference mode forbids, also for tensors made in it.
        with torch.inference_mode(False):
            result = dc.editing.transfer(
                generator.module,
                runtime.free(target.to(device)),
                runtime.free(reference.to(device)),
                runtime.free(region),
                recipe,
                seam,
                feather=feather,
                align="face" if align else None,
                match=None if match == "nothing" else match,
                encoder=None if encoder is None else encoder.module,
                progress=runtime.percent(),
            )
        return (runtime.rest(result),)


class DualEncBlend:
    """Two heads → one between them."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = "A head between two, or one head with a masked part of another."
    SEARCH_ALIASES = ["mix heads", "average", "interpolate", "lerp triplane"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The head between.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made both heads."),
                "first": socket(TRIPLANE, "The head at weight 0, or outside the mask."),
                "second": socket(TRIPLANE, "The head at weight 1, or inside the mask."),
                "weight": decimal(0.5, 0.0, 1.0, 0.01, "Share of the second head; not used with a mask."),
            },
            "optional": {"mask": socket(MASK, "Where the second head is taken, from DualEnc Region Mask.")},
        }

    def run(self, generator, first, second, weight, mask=None):
        device = runtime.use(generator)
        share = weight if mask is None else runtime.move(mask, device)
        box = generator.module.config.render.box_warp
        return (runtime.rest(dc.editing.blend(first.to(device), second.to(device), share, box)),)


class DualEncMorph:
    """Two heads → pictures of the way from one to the other."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = "Pictures of one head turning into another, for a video; the cameras are spread over the frames."
    SEARCH_ALIASES = ["morph video", "interpolate heads", "transition"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("One picture a frame.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made both heads."),
                "first": socket(TRIPLANE, "The first head, or several that are passed in turn."),
                "second": socket(TRIPLANE, "The last head."),
                "camera": socket(CAMERA, "One camera for all frames, or a move such as DualEnc Orbit's."),
                "frames": whole(48, 2, 2000, "How many pictures."),
                "loop": switch(True, "Go back to the first head at the end."),
            }
        }

    def run(self, generator, first, second, camera, frames, loop):
        device = runtime.use(generator)
        network = generator.module
        heads = [part[i].to(device) for part in (first, second) for i in range(len(part))]
        report = runtime.progress(frames)
        pictures = []
        for i, head in enumerate(dc.editing.interpolate(heads, frames, loop=loop)):
            view = camera[i * len(camera) // frames].to(device)
            # Every frame is another head: preparing it for fast rendering would not pay.
            image = runtime.back_off(lambda chunk, head=head, view=view: network.render(head, view, chunk=chunk).image)
            pictures.append(images.to_comfy(image))
            report(i + 1, frames)
        return (torch.cat(pictures),)


class DualEncMirror:
    """Head → its mirror image, or a symmetric head."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Mirrors a head, exactly. With an occlusion mask it completes the side that the photo does not show by the "
        "mirrored visible one."
    )
    SEARCH_ALIASES = ["flip head", "symmetry", "symmetric completion"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The mirrored or completed head.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "triplane": socket(TRIPLANE, "The head or heads."),
                "strength": decimal(1.0, 0.0, 1.0, 0.05, "With a mask: how far hidden parts become the mirror image."),
            },
            "optional": {
                "generator": socket(GENERATOR, "With a mask: the generator that made the head."),
                "mask": socket(MASK, "From DualEnc Occlusion Mask: complete only what the photo hides."),
            },
        }

    def run(self, triplane, strength, generator=None, mask=None):
        if mask is None:
            return (dc.editing.mirror(triplane),)
        if generator is None:
            raise DualEncError("to complete a head by a mask, connect the generator that made it too")
        # A visibility is 1 where the photo shows the head; what is asked for here is what it hides.
        hidden = getattr(mask, "complement", mask)
        box = generator.module.config.render.box_warp
        return (dc.editing.complete_symmetric(triplane, hidden, strength, box),)


class DualEncMixStyles:
    """One head's shape, another one's colours."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Gives a head style rows of another: early rows are its shape, late ones its colours. Details from the photo "
        "stay."
    )
    SEARCH_ALIASES = ["style mixing", "w+", "stylegan"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The first head with styles of the second.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made both heads."),
                "first": socket(TRIPLANE, "The head that is changed."),
                "second": socket(TRIPLANE, "The head whose styles are taken."),
                "rows": text("6-", "Style rows to take: single ones and ranges, such as 0-3, 7, or 6- for the rest."),
                "strength": decimal(1.0, 0.0, 1.0, 0.05, "How far these rows move towards the second head's."),
            }
        }

    def run(self, generator, first, second, rows, strength):
        device = runtime.use(generator)
        network = generator.module
        chosen = dc.editing.parse_rows(rows, network.config.num_ws)
        return (runtime.rest(dc.editing.mix_styles(network, first.to(device), second.to(device), chosen, strength)),)
