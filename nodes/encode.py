"""Portraits → heads, and heads from nothing."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.choices import STITCHES
from ..dualenc_core.errors import GeneratorMismatchError
from . import images, runtime, weights
from .inputs import CAMERA, ENCODER, GENERATOR, TRIPLANE, choice, decimal, hidden_colours, socket, whole

_IMAGE = "The aligned portrait, from DualEnc Align Portrait."
_CAMERA = "The camera of the portrait, from DualEnc Align Portrait."
_MATTE = (
    "The head in the portrait, 1 = head. What is around it is replaced by the generator's background before encoding; "
    "without it the picture is encoded as it is."
)


class DualEncEncode:
    """Portrait → triplane, by one encoder."""

    CATEGORY = "DualEnc/inversion"
    DESCRIPTION = (
        "Turns an aligned portrait into a head with one encoder. Stitch the heads of both encoders for a head that is "
        "true to the photo and realistic all round."
    )
    SEARCH_ALIASES = ["gan inversion", "photo to 3d", "image to 3d head", "encoder"]
    RETURN_TYPES = (TRIPLANE, "IMAGE")
    RETURN_NAMES = ("triplane", "reconstruction")
    OUTPUT_TOOLTIPS = ("The head.", "The head from the camera of the portrait.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that the encoder was trained for."),
                "encoder": socket(ENCODER, "Encoder 1 (true to the photo) or Encoder 2 (realistic all round)."),
                "image": socket("IMAGE", _IMAGE),
                "camera": socket(CAMERA, _CAMERA),
            },
            "optional": {"matte": socket("MASK", _MATTE)},
        }

    def run(self, generator, encoder, image, camera, matte=None):
        device = runtime.use(generator, encoder)
        _check_pair(generator, encoder)
        portrait, matte = subject(image, matte, device)
        if matte is not None:
            portrait = dc.inversion.on_backdrop(generator.module, portrait, matte)
        runtime.check_interrupt()
        triplane = encoder.module.encode(generator.module, portrait, camera.to(device), matte)
        runtime.check_interrupt()
        picture = _from_input_view(generator, triplane, camera, device)
        return triplane.to(runtime.result_device()), picture


class DualEncInvert:
    """Portrait → triplane, by both encoders and stitching."""

    CATEGORY = "DualEnc/inversion"
    DESCRIPTION = (
        "The whole inversion in one node: both encoders, what the photo shows, and the stitched head. The same as "
        "Encode twice, Occlusion Mask and Stitch."
    )
    SEARCH_ALIASES = [
        "photo to 3d",
        "image to 3d",
        "image to 3d head",
        "photo to head",
        "3d head",
        "3d face",
        "portrait to 3d",
        "360 head",
        "avatar",
        "head from photo",
        "gan inversion",
        "dual encoder",
    ]
    RETURN_TYPES = (TRIPLANE, "IMAGE")
    RETURN_NAMES = ("triplane", "reconstruction")
    OUTPUT_TOOLTIPS = ("The stitched head.", "The head from the camera of the portrait.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that both encoders were trained for."),
                "encoder1": socket(ENCODER, "Encoder 1: true to the photo, used where the photo shows the head."),
                "encoder2": socket(ENCODER, "Encoder 2: realistic all round, used where the photo shows nothing."),
                "image": socket("IMAGE", _IMAGE),
                "camera": socket(CAMERA, _CAMERA),
                "stitch_by": choice(
                    STITCHES,
                    "points: blends decoded points by what the photo shows; cells: the paper's mask.",
                ),
            },
            "optional": {"matte": socket("MASK", _MATTE), "hidden_colours": hidden_colours()},
        }

    def run(self, generator, encoder1, encoder2, image, camera, stitch_by, matte=None, hidden_colours=1.0):
        device = runtime.use(generator, encoder1, encoder2)
        _check_pair(generator, encoder1, encoder2)
        portrait, matte = subject(image, matte, device)
        dual = dc.DualEncoder(generator.module, encoder1.module, encoder2.module, stitch_by, hidden_colours)
        inversion = dual.invert(portrait, camera.to(device), matte, progress=runtime.progress(4))
        picture = _from_input_view(generator, inversion.triplane, camera, device)
        return inversion.triplane.to(runtime.result_device()), picture


class DualEncSample:
    """Seed → invented heads."""

    CATEGORY = "DualEnc/inversion"
    DESCRIPTION = "Invents heads: each seed is another one. Seed + 1 is the second head of a batch."
    SEARCH_ALIASES = ["random head", "random face", "generate head", "latent", "truncation"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The heads.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that invents the heads."),
                "seed": whole(0, 0, 2**31 - 65, "Which head.", control_after_generate=True),
                "truncation": decimal(
                    0.7, 0.0, 1.0, 0.05, "0 = the average head, 1 = all variety, with more failures; 0.7 is usual."
                ),
                "count": whole(1, 1, 64, "How many heads, of this seed and the next ones."),
            }
        }

    def run(self, generator, seed, truncation, count):
        runtime.use(generator)
        network = generator.module
        triplane = network.synthesize(network.mapping(network.latents(seed, count), truncation_psi=truncation))
        triplane = triplane.replace(meta={"seed": seed, "truncation": truncation})
        return (triplane.to(runtime.result_device()),)


def _check_pair(generator, *encoders):
    try:
        for encoder in encoders:
            encoder.module.check(generator.module)
    except GeneratorMismatchError as error:
        found = weights.encoders_of(generator.module.fingerprint)
        if found:
            advice = f"for {generator.name} load {' or '.join(found)}"
        else:
            advice = (
                f"models/dualenc has no encoder for {generator.name}, and nobody has published any for PanoHead yet: "
                "make the head with DualEnc Optimize (mode PTI), which needs none"
            )
        raise GeneratorMismatchError(f"{error}. {advice}") from error


def subject(image, matte, device):
    """Portraits [B,3,S,S] and their mattes [B,1,S',S'], or None, on a device."""
    portrait = images.to_core(image).to(device)
    matte = images.mask_to_core(matte, len(portrait))
    return portrait, None if matte is None else matte.to(device).expand(len(portrait), -1, -1, -1)


def _from_input_view(generator, triplane, camera, device):
    network = generator.module
    view = runtime.back_off(lambda chunk: network.render(triplane, camera.to(device), chunk=chunk, quality="exact"))
    return images.to_comfy(view.image)
