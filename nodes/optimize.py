"""Portraits → heads by optimisation."""

from __future__ import annotations

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import CheckpointError, DualEncError
from . import images, runtime
from .encode import _CAMERA, _IMAGE, _MATTE, subject
from .inputs import CAMERA, GENERATOR, TRIPLANE, choice, decimal, socket, whole
from .models import locate_known, missing_known

W_PLUS, PTI, REFINE = "W+", "PTI", "refine"
# The catalog's entry, and the name of the distance that it makes.
LIKENESS = "lpips-vgg"


class DualEncOptimize:
    """Portrait → triplane, step by step."""

    CATEGORY = "DualEnc/inversion"
    DESCRIPTION = (
        "Makes a head of a portrait by optimisation: slower than the encoders, but it needs none. W+ and PTI look for "
        "the generator's own head; refine improves a head that you already have where the portrait shows it."
    )
    SEARCH_ALIASES = [
        "photo to 3d",
        "fit head",
        "gan inversion",
        "projector",
        "pivotal tuning",
        "pti",
        "latent optimization",
        "refine head",
    ]
    RETURN_TYPES = (GENERATOR, TRIPLANE, CAMERA, "IMAGE", "STRING")
    RETURN_NAMES = ("generator", "triplane", "camera", "reconstruction", "report")
    OUTPUT_TOOLTIPS = (
        "What renders the head: after PTI a tuned copy, otherwise the generator that came in.",
        "The head.",
        "The camera of the portrait as the optimisation used it.",
        "The head from that camera.",
        "What was done, with which measure of likeness, and how the error fell.",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator whose head it shall be."),
                "image": socket("IMAGE", _IMAGE),
                "camera": socket(CAMERA, _CAMERA),
                "mode": choice(
                    (W_PLUS, PTI, REFINE),
                    "W+: the generator's head that fits best; PTI: then tunes a copy of the generator, truer to the "
                    "portrait; refine: improves the triplane below.",
                ),
                "steps": whole(200, 1, 5000, "Steps of the search, or of refine; the published setting is 500."),
                "tune_steps": whole(200, 1, 5000, "PTI: steps of the second stage; the published setting is 500."),
                "rate": decimal(
                    0.0, 0.0, 1.0, 0.005, "Largest learning rate; 0 = the usual one (0.1, refine 0.02).", advanced=True
                ),
                "patience": whole(0, 0, 1000, "Stop after this many steps without progress; 0 = never.", advanced=True),
                "seed": whole(0, 0, 2**31 - 1, "Of the noise of the search.", control_after_generate=True),
            },
            "optional": {
                "triplane": socket(TRIPLANE, "refine: the head to improve, from Encode, Invert or Stitch."),
                "matte": socket("MASK", _MATTE),
            },
        }

    def run(self, generator, image, camera, mode, steps, tune_steps, rate, patience, seed, triplane=None, matte=None):
        device = runtime.use(generator)
        if mode == REFINE and triplane is None:
            raise DualEncError("mode is 'refine': connect the triplane to improve, or choose W+ or PTI")
        if len(image) != 1 or len(camera) != 1:
            raise DualEncError(
                f"there are {len(image)} images and {len(camera)} cameras; optimise one portrait at a time"
            )
        # ComfyUI runs nodes in inference mode, whose tensors can have no gradients.
        with torch.inference_mode(False):
            portrait = _portrait(generator.module, image, matte, device)
            distance = likeness(device)
            settings = {"steps": steps} | ({"rate": rate} if rate else {})
            stop = dc.inversion.EarlyStop(patience or None)
            report = runtime.progress(steps + (tune_steps if mode == PTI else 0))
            if mode == REFINE:
                objective = dc.inversion.Objective(pixels=1.0, distance=distance)
                options = dc.inversion.RefineSettings(**settings, objective=objective, stop=stop)
                fitted = dc.inversion.refine_triplane(
                    generator.module, triplane.to(device), portrait, camera, options, progress=report
                )
            else:
                objective = dc.inversion.Objective(distance=distance)
                latent = dc.inversion.LatentSettings(**settings, seed=seed, objective=objective, stop=stop)
                if mode == PTI:
                    options = dc.inversion.PivotalSettings(latent, steps=tune_steps, stop=stop)
                    fitted = dc.inversion.pivotal_tuning(generator.module, portrait, camera, options, progress=report)
                else:
                    fitted = dc.inversion.optimise_latent(generator.module, portrait, camera, latent, progress=report)
            used = generator
            if mode == PTI:
                # ComfyUI's memory management takes networks over from the CPU.
                used = runtime.Network.wrap(fitted.generator.to("cpu"), f"{generator.name} (tuned by PTI)")
        device = runtime.use(used)
        view = runtime.back_off(
            lambda chunk: fitted.generator.render(
                fitted.triplane, fitted.camera.to(device), chunk=chunk, quality="exact"
            )
        )
        text = _words(fitted)
        result = (used, runtime.rest(fitted.triplane), fitted.camera.to("cpu"), images.to_comfy(view.image), text)
        return {"ui": {"text": [text]}, "result": result}


def likeness(device):
    """LPIPS with VGG if its file is in models/dualenc or the weights folder, else the measure that needs none."""
    try:
        path = locate_known(LIKENESS)
    except CheckpointError:
        return dc.inversion.find_distance(runtime.model_home(), device)
    return dc.inversion.find_distance(device=device, path=path)


def _portrait(generator, image, matte, device):
    portrait, matte = subject(image, matte, device)
    # What ComfyUI hands over was made in inference mode, where gradients cannot be recorded.
    portrait = portrait.clone()
    return portrait if matte is None else dc.inversion.on_backdrop(generator, portrait, matte.clone())


def _words(fitted):
    made = fitted.triplane.meta["optimised"]
    lines = [
        f"{made['method']}: {made['steps']} steps, error {made['first_loss']:.4f} → {made['last_loss']:.4f}",
        f"likeness by {made['perceptual']}",
    ]
    return "\n".join(lines + [note for note in (_note(made), fitted.stopped) if note])


def _note(made):
    """Heads carry no path of this machine along, but here it is known where a missing file belongs."""
    missing = made["perceptual"] != LIKENESS and made["note"]
    return f"LPIPS is not used: {missing_known(LIKENESS)}" if missing else made["note"]
