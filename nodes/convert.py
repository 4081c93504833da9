"""Published checkpoints → files that the load nodes take."""

from __future__ import annotations

from pathlib import Path

from .. import dualenc_core as dc
from ..dualenc_core.errors import CheckpointError
from ..dualenc_core.files import sha256
from . import runtime, weights
from .inputs import choice, switch, whole
from .models import fingerprint

NOTHING = "(nothing to convert in models/dualenc)"


class DualEncConvert:
    """Official .pkl or encoder checkpoint → .safetensors in models/dualenc."""

    CATEGORY = "DualEnc/models"
    DESCRIPTION = (
        "Converts PanoHead's official .pkl, or a checkpoint of an encoder, into a .safetensors file in models/dualenc "
        "that the load nodes take. Nothing in the file is executed; any other file is refused."
    )
    SEARCH_ALIASES = [
        "convert",
        "convert pkl",
        "pkl to safetensors",
        "pickle",
        "import weights",
        "panohead weights",
        "official checkpoint",
    ]
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("path", "report")
    OUTPUT_TOOLTIPS = (
        "The converted file, for the path of DualEnc Load PanoHead or Load Encoder.",
        "What was taken over and what was not.",
    )
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "file": choice(
                    weights.published_files() or [NOTHING],
                    "The downloaded file (.pkl, .pt, .pth) in models/dualenc; press R after you have put one there.",
                ),
                "half": switch(False, "Store 16 bits: half the size, about 0.1 % rounding."),
                "planes": whole(
                    288,
                    3,
                    4096,
                    "For encoders: plane channels of the generator that it shall serve; PanoHead has 288.",
                    advanced=True,
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file):
        try:
            _find(file)
        except CheckpointError as error:
            return str(error)
        return True

    @classmethod
    def IS_CHANGED(cls, file, half, planes):
        return fingerprint(_find(file))

    def run(self, file, half, planes):
        path = _find(file)
        target, done = _target(path, half)
        if done:
            text = f"{path.name} has been converted before: {target.name} is made of it"
        else:
            text = str(dc.checkpoints.convert(path, target, half, planes, progress=runtime.percent()))
        return {"ui": {"text": [text]}, "result": (target.name, text)}


def _find(file: str) -> Path:
    path = None if file == NOTHING else runtime.find_model(file)
    if path is not None:
        return path
    panohead = next(entry for entry in dc.checkpoints.read_catalog() if entry.id == "panohead")
    missing = "there is nothing to convert" if file == NOTHING else f"{file!r} is not in {runtime.model_home()}"
    raise CheckpointError(f"{missing}; {weights.how_to_get(panohead, runtime.model_home())}")


def _target(source: Path, half: bool) -> tuple[Path, bool]:
    """Where the converted file goes, never over one that is not made of this source; and whether it is there."""
    entry = weights.entry_of(source.name)
    name = entry.converted if entry and entry.converted else f"{source.stem}.safetensors"
    home, wanted, digest = runtime.model_home(), Path(name), None
    for path in (home / wanted, *(home / f"{wanted.stem}-{i}{wanted.suffix}" for i in range(2, 1000))):
        if not path.exists():
            return path, False
        digest = digest or sha256(source)
        if _made_of(path, digest) and _is_half(path) == half:
            return path, True
    raise CheckpointError(f"{home} holds 999 files named like {name}; remove those that are not needed")


def _made_of(path: Path, digest: str) -> bool:
    try:
        return dc.checkpoints.read_entry(path)["provenance"].get("sha256") == digest
    except CheckpointError:
        return False


def _is_half(path: Path) -> bool:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())
