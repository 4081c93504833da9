"""Loading generators and encoders."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import CheckpointError
from . import runtime
from .inputs import ENCODER, GENERATOR, choice

BUNDLED = {
    "generator": {"demo (bundled)": "demo"},
    "encoder": {"demo Encoder 1 (bundled)": "demo-e1", "demo Encoder 2 (bundled)": "demo-e2"},
}


class DualEncLoadPanoHead:
    """File → generator."""

    CATEGORY = "DualEnc/models"
    DESCRIPTION = (
        "Loads the PanoHead generator that turns tri-grids into pictures. The bundled demo is a small PanoHead of "
        "stylised heads that needs no download; real weights go into models/dualenc."
    )
    SEARCH_ALIASES = ["panohead", "3d gan", "head generator", "eg3d", "triplane model"]
    RETURN_TYPES = (GENERATOR,)
    RETURN_NAMES = ("generator",)
    OUTPUT_TOOLTIPS = ("The generator; every triplane belongs to the generator that made it.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tooltip = "A generator in models/dualenc, or the bundled demo. Official .pkl files must be converted first."
        return {"required": {"file": choice(_files("generator"), tooltip)}}

    @classmethod
    def VALIDATE_INPUTS(cls, file):
        return _problem("generator", file) or True

    @classmethod
    def IS_CHANGED(cls, file):
        return fingerprint(_locate("generator", file))

    def run(self, file):
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
        return {"required": {"file": choice(_files("encoder"), "An encoder in models/dualenc, or a bundled demo.")}}

    @classmethod
    def VALIDATE_INPUTS(cls, file):
        return _problem("encoder", file) or True

    @classmethod
    def IS_CHANGED(cls, file):
        return fingerprint(_locate("encoder", file))

    def run(self, file):
        with torch.inference_mode(False):
            network = dc.load_encoder(_locate("encoder", file))
        return (runtime.Network.wrap(network, file),)


def locate_known(entry: str) -> Path:
    """The usable file of a catalog entry in models/dualenc; CheckpointError says where to get a missing one."""
    known = next(e for e in dc.checkpoints.read_catalog() if e.id == entry)
    # Some published files are used as they are.
    return runtime.find_model(known.converted or known.files[0].name) or dc.checkpoints.resolve(
        known.kind, entry, runtime.model_home()
    )


def fingerprint(path: Path) -> str:
    """Changes when the file does."""
    stat = path.stat()
    return f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}"


def _files(kind: str) -> list[str]:
    files = [*BUNDLED[kind], *(name for name in runtime.model_files() if _may_be(kind, name))]
    # In the list itself, because that is where one looks for the files.
    return files if (problem := _folder_problem()) is None else [*files, problem]


def _folder_problem() -> str | None:
    problem = runtime.models_problem()
    return None if problem is None else f"({problem})"


def _may_be(kind: str, name: str) -> bool:
    """Leave out files that are known to be of another kind; a damaged one stays, and loading it says what is wrong."""
    if name.endswith(".pkl"):
        return kind == "generator"
    path = runtime.find_model(name)
    if path is None:
        return False
    try:
        return dc.checkpoints.read_entry(path)["kind"] == kind
    except CheckpointError:
        return True


def _problem(kind: str, file: str) -> str | None:
    try:
        _locate(kind, file)
    except CheckpointError as error:
        return str(error)
    return None


def _locate(kind: str, file: str) -> Path:
    alias = BUNDLED[kind].get(file)
    if alias is not None:
        return dc.checkpoints.resolve(kind, alias)
    path = runtime.find_model(file)
    home = runtime.model_home()
    if path is None and (problem := runtime.models_problem()) is not None:
        raise CheckpointError(
            f"{kind} file {file!r} cannot be found, because {problem}. Mend that and restart ComfyUI, or choose a "
            f"bundled one ({', '.join(BUNDLED[kind])})"
        )
    if path is None:
        # The catalog knows where published files come from; only a bare name is looked up, never a path.
        if dc.checkpoints.is_known(Path(file).name):
            dc.checkpoints.resolve(kind, Path(file).name, home)
        raise CheckpointError(
            f"{kind} file {file!r} is not in {home}; put it there and press R to refresh, or choose another "
            f"({', '.join(BUNDLED[kind])})"
        )
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path} is an official checkpoint that must be converted first. In the folder of this node pack run: "
            f"python -m dualenc_core convert {path} {path.with_suffix('.safetensors')}"
        )
    return path
