"""Heads → Gaussian splats."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from . import runtime
from .inputs import FILE_3D_SPLAT, GENERATOR, TRIPLANE, choice, decimal, socket, text, whole

NOT_SAVED = "no"
_NOWHERE = "this ComfyUI has no nodes that take a SPLAT, so the splats were saved as ply"


class DualEncSplat:
    """Head → Gaussian splats, in a file and for ComfyUI's splat nodes."""

    CATEGORY = "DualEnc/export"
    DESCRIPTION = (
        "Turns a head into Gaussian splats and saves them: small soft spots that viewers draw at once from every side, "
        "as soft as the pictures."
    )
    SEARCH_ALIASES = [
        "gaussian splat",
        "gaussian splatting",
        "3dgs",
        "head to splat",
        "save splat",
        "export ply",
        "spz",
        "3d head",
    ]
    RETURN_TYPES = ("SPLAT", "STRING", FILE_3D_SPLAT)
    RETURN_NAMES = ("splat", "path", "model_3d")
    OUTPUT_TOOLTIPS = (
        "The splats, for Render Splat and ComfyUI's other splat nodes (0.33 or newer).",
        "The file, relative to the output folder; empty when it was not saved.",
        "The same file for Preview Splat and Save Splat, where ComfyUI has them.",
    )
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head, or a batch of which one is taken."),
                "count": whole(150_000, 5_000, 2_000_000, "Most splats: more show finer detail.", step=5_000),
                "save": choice(
                    ("ply", "spz", NOT_SAVED),
                    "ply: every viewer reads it; spz: a seventh as large; no: only hand them on.",
                ),
                "filename_prefix": text("dualenc/head", "Start of the file name; may name a folder inside output."),
                "threshold": decimal(
                    0.0, 0.0, 1000.0, 0.5, "Density of the surface; 0 = where a step is half opaque.", advanced=True
                ),
                "head": whole(0, 0, 4095, "Which head of a batch, counted from 0.", advanced=True),
            }
        }

    def run(self, generator, triplane, count, save, filename_prefix, threshold, head):
        if head >= len(triplane):
            raise DualEncError(f"head is {head}, but the batch holds {len(triplane)} head(s), counted from 0")
        device = runtime.use(generator)
        network, head = generator.module, triplane[head].to(device)
        report = runtime.percent()
        splats = dc.export.bake_splats(network, head, count, threshold or None, progress=report)
        if device.type != "cpu":
            network.release_prepared()
        size, warnings = f"{len(splats):,} splats", []
        if save == NOT_SAVED and not runtime.has_splats():
            save, warnings = "ply", [_NOWHERE]
        if save == NOT_SAVED:
            return {"ui": {"text": [size]}, "result": (runtime.splat(splats), "", None)}
        with runtime.new_output(filename_prefix, f".{save}") as (path, line):
            dc.export.save_splats(splats, path)
        name = "/".join(part for part in (line["subfolder"], line["filename"]) if part)
        report_text = f"{name}\n{size}, {path.stat().st_size / 1e6:.1f} MB"
        ui = {"3d": [line], "text": [report_text], "dualenc_warnings": warnings}
        return {"ui": ui, "result": (runtime.splat(splats), name, runtime.file3d(path))}
