"""Heads → meshes."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import runtime
from .inputs import GENERATOR, TRIPLANE, choice, decimal, socket, switch, text, whole


class DualEncMesh:
    """Head → coloured mesh."""

    CATEGORY = "DualEnc/export"
    DESCRIPTION = "Turns a head into a triangle mesh with colours, upright and facing +z, in metres."
    SEARCH_ALIASES = ["mesh", "glb", "3d model", "marching cubes", "geometry"]
    RETURN_TYPES = ("MESH",)
    RETURN_NAMES = ("mesh",)
    OUTPUT_TOOLTIPS = ("The mesh, for DualEnc Save Mesh (with colours) and for ComfyUI's own mesh nodes.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head; of a batch, the first."),
                "resolution": whole(192, 32, 512, "Cells along a side of the head's box.", step=16),
                "smooth": whole(0, 0, 50, "Rounds of smoothing.", advanced=True),
                "largest_only": switch(True, "Leave out pieces that are not joined to the head.", advanced=True),
                "threshold": decimal(
                    0.0, 0.0, 1000.0, 0.5, "Density of the surface; 0 = where a step is half opaque.", advanced=True
                ),
            }
        }

    def run(self, generator, triplane, resolution, smooth, largest_only, threshold):
        device = runtime.use(generator)
        network, head = generator.module, triplane[0].to(device)
        report = runtime.percent()
        mesh = dc.export.extract_mesh(
            network, head, resolution, threshold or None, largest_only, smooth, progress=report
        )
        mesh = dc.export.colour_mesh(network, head, mesh, progress=report)
        return (runtime.mesh(mesh),)


class DualEncSaveMesh:
    """Mesh → file in output/."""

    CATEGORY = "DualEnc/export"
    DESCRIPTION = "Saves a mesh of DualEnc Mesh with its colours as GLB or PLY in the output folder."
    SEARCH_ALIASES = ["save glb", "export ply", "export mesh"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ("The file, relative to the output folder; for Preview 3D.",)
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "mesh": socket("MESH", "From DualEnc Mesh."),
                "filename_prefix": text("dualenc/head", "Start of the file name; may name a folder inside output."),
                "format": choice(("glb", "ply"), "glb for viewers, engines and the web; ply for mesh tools."),
            }
        }

    def run(self, mesh, filename_prefix, format):
        ours = getattr(mesh, "dualenc", None)
        if ours is None:
            raise DualEncError("this mesh has no colours of DualEnc; use ComfyUI's Save GLB for other meshes")
        path, line = runtime.new_output(filename_prefix, f".{format}")
        dc.export.save_mesh(ours, path)
        name = "/".join(part for part in (line["subfolder"], line["filename"]) if part)
        return {"ui": {"3d": [line], "files": [line], "text": [name]}, "result": (name,)}
