"""Heads → other heads: regions, transfer of parts, blends, mirror images, styles."""

from __future__ import annotations

import torch

from .. import dualenc_core as dc
from ..dualenc_core.choices import BACK, FACE_PARTS, MATCHES, MIXES, NO_MATCH, RECIPE_PARTS, SEAMS
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import CAMERA, ENCODER, GENERATOR, MASK, TRIPLANE, choice, decimal, socket, switch, text, whole
from .inputs import colour as colour_widget
from .render import BACKGROUNDS, background_of, resized

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


class DualEncBlend:
    """Two heads → one between them."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = "A head between two, or one head with a masked part of another."
    SEARCH_ALIASES = ["mix heads", "mix faces", "blend faces", "average", "interpolate", "lerp triplane"]
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
    """Heads → pictures of the way from one to the next."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Pictures of one head turning into another, or into several in turn, for a video. The camera may move "
        "meanwhile: link DualEnc Orbit."
    )
    SEARCH_ALIASES = ["morph video", "face morph", "interpolate heads", "transition", "animate"]
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "alpha")
    OUTPUT_TOOLTIPS = ("One picture a frame, for Create Video.", "The head: 1 = head, 0 = background.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made all heads."),
                "triplane": socket(TRIPLANE, "The first head; a batch of heads is passed in turn."),
                "camera": socket(CAMERA, "One camera for all frames, or a move such as that of DualEnc Orbit."),
                "frames": whole(
                    0, 0, 2000, "How many pictures, over which the cameras are spread; 0 = one for each camera."
                ),
                "loop": switch(True, "Return to the first head, so that the video can be repeated."),
                "pause": switch(True, "Slow down at every head; off: change evenly."),
                "mix": choice(
                    MIXES,
                    "planes: blends the tri-grids; styles: goes through the generator's own heads between, slower.",
                    advanced=True,
                ),
                "background": choice(BACKGROUNDS[:2], "generator: what it invents; colour: one colour.", advanced=True),
                "colour": colour_widget("Background colour as #rrggbb, for colour.", advanced=True),
            },
            "optional": {
                "second": socket(TRIPLANE, "The next head, or several."),
                "third": socket(TRIPLANE, "The head after that, or several."),
            },
        }

    def run(self, generator, triplane, camera, frames, loop, pause, mix, background, colour, second=None, third=None):
        batches = [batch for batch in (triplane, second, third) if batch is not None]
        if sum(map(len, batches)) < 2:
            raise DualEncError("there is one head only; connect second, or a batch of heads to triplane")
        frames = frames or len(camera)
        if frames < 2:
            raise DualEncError("frames is 0 and there is one camera, so one picture; set frames, or link DualEnc Orbit")
        device = runtime.use(generator)
        network = generator.module
        heads = [batch[i].to(device) for batch in batches for i in range(len(batch))]
        path = dc.editing.interpolate(heads, frames, loop=loop, smooth=pause, space=mix, generator=network)
        behind = background_of(background, colour)
        report = runtime.progress(frames)
        pictures, alphas = [], []
        for i, head in enumerate(path):
            view = camera[i * len(camera) // frames].to(device)

            def draw(chunk, head=head, view=view):
                # Every frame is another head: preparing it for fast rendering would not pay.
                return network.render(head, view, chunk=chunk, background=behind)

            frame = runtime.back_off(draw)
            pictures.append(images.to_comfy(frame.image))
            alphas.append(images.mask_to_comfy(resized(frame.alpha, frame.image.shape[-1])))
            report(i + 1, frames)
        return torch.cat(pictures), torch.cat(alphas)


class DualEncMirror:
    """Head → its mirror image, or a symmetric head."""

    CATEGORY = "DualEnc/edit"
    DESCRIPTION = (
        "Mirrors a head, exactly. With an occlusion mask it completes the side that the photo does not show by the "
        "mirrored visible one."
    )
    SEARCH_ALIASES = ["flip head", "mirror face", "symmetry", "symmetric completion"]
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
