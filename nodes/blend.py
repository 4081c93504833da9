"""Heads → heads between them, their mirror images, and mixtures of styles."""

from __future__ import annotations

import torch

from .. import dualenc_core as dc
from ..dualenc_core.choices import MIXES
from ..dualenc_core.errors import DualEncError
from . import images, runtime
from .inputs import CAMERA, GENERATOR, MASK, TRIPLANE, choice, decimal, socket, switch, text, whole
from .inputs import colour as colour_widget
from .render import BACKGROUNDS, background_of, resized


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
