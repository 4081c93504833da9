"""Loading generators and encoders."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import CheckpointError
from . import runtime, weights
from .inputs import ENCODER, GENERATOR, choice, linked_text

_PATH = "From DualEnc Convert: the converted file, used instead of the file above."


class DualEncLoadPanoHead:
    """File → generator."""

    CATEGORY = "DualEnc/models"
    DESCRIPTION = (
        "Loads the PanoHead generator that turns tri-grids into pictures. The bundled demo is a small PanoHead of "
        "people that needs no download; PanoHead's own weights go into models/dualenc (see DualEnc Convert)."
    )
    SEARCH_ALIASES = [
        "panohead",
        "load panohead",
        "load head model",
        "3d gan",
        "head generator",
        "eg3d",
        "triplane model",
    ]
    RETURN_TYPES = (GENERATOR,)
    RETURN_NAMES = ("generator",)
    OUTPUT_TOOLTIPS = ("The generator; every triplane belongs to the generator that made it.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tooltip = "A generator in models/dualenc, or the bundled demo. DualEnc Convert makes one of an official .pkl."
        return {"required": {"file": choice(_files("generator"), tooltip)}, "optional": {"path": linked_text(_PATH)}}

    @classmethod
    def VALIDATE_INPUTS(cls, file, path=None):
        return _problem("generator", file) or True

    @classmethod
    def IS_CHANGED(cls, file, path=None):
        return fingerprint(_locate("generator", path or file))

    def run(self, file, path=None):
        file = path or file
        # Modules that are loaded in inference mode could never have gradients.
        with torch.inference_mode(False):
            network = dc.load_generator(_locate("generator", file))
        return (runtime.Network.wrap(network, file),)


class DualEncLoadEncoder:
    """File → encoder."""

    CATEGORY = "DualEnc/models"
    DESCRIPTION = (
        "Loads one of the two encoders. Encoder 1 is true to the photo, Encoder 2 is realistic where the photo shows "
        "nothing. An encoder fits the generator that it was trained for."
    )
    SEARCH_ALIASES = ["gan inversion", "triplanenet", "psp", "dual encoder"]
    RETURN_TYPES = (ENCODER,)
    RETURN_NAMES = ("encoder",)
    OUTPUT_TOOLTIPS = ("The encoder, for DualEnc Encode or DualEnc Invert.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tooltip = "An encoder in models/dualenc, or a bundled demo."
        return {"required": {"file": choice(_files("encoder"), tooltip)}, "optional": {"path": linked_text(_PATH)}}

    @classmethod
    def VALIDATE_INPUTS(cls, file, path=None):
        return _problem("encoder", file) or True

    @classmethod
    def IS_CHANGED(cls, file, path=None):
        return fingerprint(_locate("encoder", path or file))

    def run(self, file, path=None):
        file = path or file
        with torch.inference_mode(False):
            network = dc.load_encoder(_locate("encoder", file))
        return (runtime.Network.wrap(network, file),)


def locate_known(entry: str) -> Path:
    """The usable file of a catalog entry in models/dualenc; CheckpointError says how to get a missing one."""
    known = next(e for e in dc.checkpoints.read_catalog() if e.id == entry)
    home = runtime.model_home()
    # Some published files are used as they are.
    file = known.files[0].name
    name = known.converted or file
    found = None if name is None else runtime.find_model(name)
    try:
        return found or dc.checkpoints.resolve(known.kind, entry, home)
    except CheckpointError as error:
        if file and runtime.find_model(file) is not None:
            raise CheckpointError(f"{known.role}: {weights.how_to_convert(home / file)}") from error
        raise CheckpointError(missing_known(entry)) from error


def missing_known(entry: str) -> str:
    """That the file of a catalog entry is missing: from where, and into which folder of this ComfyUI."""
    known = next(e for e in dc.checkpoints.read_catalog() if e.id == entry)
    name = known.files[0].name or known.id
    return f"{known.role}: {name} is missing; {weights.how_to_get(known, runtime.model_home())}"


def fingerprint(path: Path) -> str:
    """Changes when the file does."""
    stat = path.stat()
    return f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}"


def _files(kind: str) -> list[str]:
    files = [*weights.BUNDLED[kind], *weights.files_of(kind)]
    # In the list itself, because that is where one looks for the files.
    return files if (problem := _folder_problem()) is None else [*files, problem]


def _folder_problem() -> str | None:
    problem = runtime.models_problem()
    return None if problem is None else f"({problem})"


def _problem(kind: str, file: str) -> str | None:
    try:
        _locate(kind, file)
    except CheckpointError as error:
        return str(error)
    return None


def _locate(kind: str, file: str) -> Path:
    alias = weights.BUNDLED[kind].get(file)
    if alias is not None:
        return dc.checkpoints.resolve(kind, alias)
    path = runtime.find_model(file)
    home = runtime.model_home()
    if path is None and (problem := runtime.models_problem()) is not None:
        raise CheckpointError(
            f"{kind} file {file!r} cannot be found, because {problem}. Mend that and restart ComfyUI, or choose a "
            f"bundled one ({', '.join(weights.BUNDLED[kind])})"
        )
    if path is None:
        # The catalog knows where published files come from; only a bare name is looked up, never a path.
        entry = weights.entry_of(file)
        if entry is not None:
            raise CheckpointError(f"{kind} file {Path(file).name} is not in {home}; {weights.how_to_get(entry, home)}")
        raise CheckpointError(
            f"{kind} file {file!r} is not in {home}; put it there and press R to refresh, or choose another "
            f"({', '.join(weights.BUNDLED[kind])})"
        )
    if path.name.lower().endswith(weights.PUBLISHED):
        raise CheckpointError(f"{path} is an official checkpoint; {weights.how_to_convert(path)}")
    return path
