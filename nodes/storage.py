"""Heads as files."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import runtime
from .inputs import TRIPLANE, choice, linked_text, socket, switch, text
from .models import fingerprint

EXTENSION = ".safetensors"
NOTHING = "(none)"


class DualEncSaveTriplane:
    """Triplane → file in output/."""

    CATEGORY = "DualEnc/triplane"
    DESCRIPTION = "Saves a head as a .safetensors file in the output folder, for DualEnc Load Triplane and the library."
    SEARCH_ALIASES = ["save head", "save avatar", "export triplane", "safetensors"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ('The file, in a form that DualEnc Load Triplane takes: "name [output]".',)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "triplane": socket(TRIPLANE, "The head or heads."),
                "filename_prefix": text("dualenc/head", "Start of the file name; may name a folder inside output."),
                "half": switch(False, "Planes in half precision: half the size, tiny rounding.", advanced=True),
            }
        }

    def run(self, triplane, filename_prefix, half):
        with runtime.new_output(filename_prefix, EXTENSION) as (path, line):
            triplane.save(path, half)
        name = "/".join(part for part in (line["subfolder"], line["filename"]) if part)
        return {"ui": {"files": [line], "text": [name]}, "result": (f"{name} [output]",)}


class DualEncLoadTriplane:
    """File → triplane."""

    CATEGORY = "DualEnc/triplane"
    DESCRIPTION = (
        "Loads a head that DualEnc Save Triplane or the command line saved, from the input or the output folder. It "
        "renders with the generator that made it."
    )
    SEARCH_ALIASES = ["load head", "load avatar", "open triplane", "safetensors"]
    RETURN_TYPES = (TRIPLANE,)
    RETURN_NAMES = ("triplane",)
    OUTPUT_TOOLTIPS = ("The head or heads.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tooltip = "A triplane file in the input folder, or one in the output folder ([output]); newest first."
        # Always there: workflows that take the path hold it, and what is not in the list is marked as missing.
        return {
            "required": {"file": choice([*runtime.stored_files(EXTENSION), NOTHING], tooltip)},
            "optional": {
                "path": linked_text("From DualEnc Save Triplane or another node; used instead of the file above.")
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file, path=None):
        # Whether the file exists shows when it is read: a linked path, not known yet, may replace it.
        try:
            runtime.stored_path(file)
        except DualEncError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, file, path=None):
        found = runtime.stored_path(path or file)
        return fingerprint(found) if found.is_file() else "missing"

    def run(self, file, path=None):
        name = path or file
        if name == NOTHING:
            raise DualEncError("no triplane file is chosen; save one with DualEnc Save Triplane first, then press R")
        found = runtime.stored_path(name)
        if not found.is_file():
            raise DualEncError(
                f"the triplane file {name!r} does not exist ({found}); choose another, or put it into ComfyUI's input "
                "folder and press R to refresh"
            )
        return (dc.Triplane.load(found),)
