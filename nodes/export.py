"""Heads → meshes."""

from __future__ import annotations

import functools

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import meshes, runtime
from .inputs import FILE_3D, GENERATOR, TRIPLANE, choice, decimal, socket, switch, text, whole


class DualEncMesh:
    """Head → coloured mesh."""

    CATEGORY = "DualEnc/export"
    DESCRIPTION = "Turns a head into a triangle mesh with colours, upright and facing +z, in metres."
    SEARCH_ALIASES = [
        "mesh",
        "head mesh",
        "face mesh",
        "3d head",
        "glb",
        "3d model",
        "avatar",
        "marching cubes",
        "geometry",
    ]
    RETURN_TYPES = ("MESH",)
    RETURN_NAMES = ("mesh",)
    OUTPUT_TOOLTIPS = ("The mesh, for DualEnc Save Mesh and for ComfyUI's own mesh nodes.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head, or a batch of which one is taken."),
                "resolution": whole(192, 32, 512, "Cells along a side of the head's box: finer, slower.", step=16),
                "texture": whole(
                    0, 0, 4096, "Side of a texture in texels, for few triangles; 0 = colours of vertices.", step=256
                ),
                "triangles": whole(
                    0, 0, 2_000_000, "Reduce to about this many, for games and the web; 0 = keep all.", step=1000
                ),
                "smooth": whole(0, 0, 50, "Rounds of smoothing; 2 to 10 take ripples away.", advanced=True),
                "largest_only": switch(True, "Leave out pieces that are not joined to the head.", advanced=True),
                "threshold": decimal(
                    0.0, 0.0, 1000.0, 0.5, "Density of the surface; 0 = where a step is half opaque.", advanced=True
                ),
                "head": whole(0, 0, 4095, "Which head of a batch, counted from 0.", advanced=True),
            }
        }

    def run(self, generator, triplane, resolution, texture, triangles, smooth, largest_only, threshold, head):
        if head >= len(triplane):
            raise DualEncError(f"head is {head}, but the batch holds {len(triplane)} head(s), counted from 0")
        if 0 < texture < 64 or 0 < triangles < 100:
            raise DualEncError(
                f"texture is {texture} and triangles {triangles}, expected at least 64 and 100, or 0 for none"
            )
        device = runtime.use(generator)
        network, head = generator.module, triplane[head].to(device)
        report = runtime.percent()
        mesh = dc.export.extract_mesh(
            network, head, resolution, threshold or None, largest_only, smooth, triangles or None, progress=report
        )
        views = dc.export.colour_views(network, head, progress=report)
        if device.type != "cpu":
            network.release_prepared()
        mesh = dc.export.colour_mesh(network, head, mesh, views)
        if texture:
            mesh = dc.export.bake_texture(mesh, views, texture)
        return (runtime.mesh(mesh),)


class DualEncSaveMesh:
    """Mesh → file in output/."""

    CATEGORY = "DualEnc/export"
    DESCRIPTION = (
        "Saves a mesh with its colours or texture as GLB, PLY, OBJ or STL in the output folder: of DualEnc Mesh, or of "
        "any node that gives a MESH. Link model_3d or path to a preview to look at it."
    )
    SEARCH_ALIASES = [
        "save glb",
        "save 3d model",
        "export 3d",
        "save head",
        "export ply",
        "export mesh",
        "export avatar",
        "save obj",
        "save stl",
        "3d print",
    ]
    RETURN_TYPES = ("STRING", FILE_3D)
    RETURN_NAMES = ("path", "model_3d")
    OUTPUT_TOOLTIPS = (
        "The file, relative to the output folder; for Preview 3D.",
        "The same file for Preview 3D (Advanced) and Save 3D (Advanced), where ComfyUI has them.",
    )
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "mesh": socket("MESH", "From DualEnc Mesh, or from any node that changes or makes a mesh."),
                "filename_prefix": text("dualenc/head", "Start of the file name; may name a folder inside output."),
                "format": choice(
                    ("glb", "ply", "obj", "stl"),
                    "glb: for viewers, engines and the web; ply: for mesh tools, without the texture; obj: for other "
                    "programs, with its texture beside it; stl: for printing, without colours.",
                ),
            }
        }

    def run(self, mesh, filename_prefix, format):
        found = meshes.from_comfy(mesh)
        missing = meshes.left_out(mesh)
        lines, files, texts, paths = [], [], [], []
        for ours in found:
            with runtime.new_output(
                filename_prefix, f".{format}", beside=functools.partial(dc.export.companions, mesh=ours)
            ) as (path, line):
                dc.export.save_mesh(ours, path, unlit=bool(getattr(mesh, "unlit", ours.colours is not None)))
            name = "/".join(part for part in (line["subfolder"], line["filename"]) if part)
            texts.append(f"{name}\n{len(ours.vertices):,} vertices, {len(ours.faces):,} triangles")
            lines.append(line)
            files += [runtime.output_line(other) for other in dc.export.companions(path, ours)]
            paths.append((name, path))
        name, path = paths[0]
        warnings = [f"not in the file: {', '.join(missing)}; ComfyUI's Save 3D Model writes them"] if missing else []
        # The mesh itself is in "3d" only: the assets panel would count it twice.
        ui = {"3d": lines, "files": files, "text": ["\n".join(texts)], "dualenc_warnings": warnings}
        return {"ui": ui, "result": (name, runtime.file3d(path))}
