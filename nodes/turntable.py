"""A head to turn with the mouse: views that are made once and shown by the browser."""

from __future__ import annotations

import base64
import uuid
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import dualenc_core as dc
from ..dualenc_core.errors import DualEncError
from ..dualenc_core.export.strip import Strip, atlas, jpeg, shrunk
from ..dualenc_core.files import atomic_path, make_folder
from . import runtime
from .inputs import CAMERA, GENERATOR, LOAD3D_CAMERA, TRIPLANE, decimal, socket, switch, whole

EVENT = "dualenc.turntable"
# Rays along a side, if the generator has no fewer: pictures are small, and super-resolution brings the detail. With the
# bundled weights a view takes .11 s on two cores and is 38.9 dB from all 128² rays; 64² take .066 s and 34.2 dB.
_RAYS = 96
# Sheets of views that stay in temp/, of all nodes together.
_SHEETS_KEPT = 12


@dataclass(frozen=True)
class _Made:
    """The views of one run, kept so that turning the head does not make them again."""

    network: weakref.ref
    triplane: weakref.ref
    asked: tuple
    pictures: torch.Tensor
    line: dict[str, Any]
    sheet: Path

    def serves(self, network: Any, triplane: Any, asked: tuple) -> bool:
        same = self.network() is network and self.triplane() is triplane
        return same and self.asked == asked and self.sheet.is_file()


_last: _Made | None = None
_sheets: deque[Path] = deque()


class DualEncTurntable:
    """Head → views that the browser turns, and the camera that it shows."""

    CATEGORY = "DualEnc/render"
    DESCRIPTION = (
        "Turn a head with the mouse: drag, wheel, arrow keys, or let it turn. Views appear while they are made; the "
        "one that you leave it at goes on as a camera."
    )
    SEARCH_ALIASES = [
        "viewer",
        "turn with the mouse",
        "drag head",
        "rotate head",
        "orbit viewer",
        "turntable",
        "360 viewer",
        "preview head",
        "3d preview",
    ]
    RETURN_TYPES = ("IMAGE", "FLOAT", CAMERA, LOAD3D_CAMERA)
    RETURN_NAMES = ("image", "fps", "camera", "camera_info")
    OUTPUT_TOOLTIPS = (
        "The level turn, one picture a view, for Create Video.",
        "Frames a second of that turn, for Create Video.",
        "The view that is shown, for DualEnc Render.",
        "The same view for DualEnc Camera, Render Mesh, Render Splat and Preview 3D.",
    )
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "generator": socket(GENERATOR, "The generator that made the head."),
                "triplane": socket(TRIPLANE, "The head, or a batch of which one is taken."),
                "yaw": decimal(0.0, -360.0, 360.0, 1.0, "Degrees round the head that are shown; dragging sets it."),
                "pitch": decimal(0.0, -90.0, 90.0, 1.0, "Degrees above or below that are shown; dragging sets it."),
                "zoom": decimal(1.0, 1.0, 4.0, 0.05, "Enlargement that is shown; the wheel sets it."),
                "seconds": decimal(4.0, 0.5, 60.0, 0.5, "Time of one turn when it plays."),
                "views": whole(36, 4, 180, "Pictures of one turn.", step=4, advanced=True),
                "rows": whole(3, 1, 9, "Turns at different pitches.", step=2, advanced=True),
                "tilt": decimal(25.0, 0.0, 60.0, 1.0, "Pitch of the highest and lowest turn.", advanced=True),
                "size": whole(256, 128, 512, "Side of the pictures in pixels.", step=64, advanced=True),
                "super_resolution": switch(
                    True, "Off: faster and blurred, for large generators on a CPU.", advanced=True
                ),
                "head": whole(0, 0, 4095, "Which head of a batch, counted from 0.", advanced=True),
            }
        }

    def run(self, generator, triplane, yaw, pitch, zoom, seconds, views, rows, tilt, size, super_resolution, head):
        global _last
        if head >= len(triplane):
            raise DualEncError(f"head is {head}, but the batch holds {len(triplane)} head(s), counted from 0")
        strip = Strip(views, rows, tilt, size)
        asked = strip, super_resolution, head
        if _last is None or not _last.serves(generator, triplane, asked):
            _last = None
            pictures, token = _views(generator, triplane[head], strip, super_resolution)
            sheet, line = _keep(pictures, strip, token)
            _last = _Made(weakref.ref(generator), weakref.ref(triplane), asked, pictures, line, sheet)
        turn = _last.pictures[strip.level * views : (strip.level + 1) * views]
        camera = dc.Camera.look_at(yaw, pitch).zoomed(zoom)
        result = turn.float() / 255, views / seconds, camera, camera.to_load3d()[0]
        return {"ui": {"dualenc_turntable": [_last.line]}, "result": result}


def _views(
    generator: runtime.Network, head: dc.Triplane, strip: Strip, super_resolution: bool
) -> tuple[torch.Tensor, str]:
    """All pictures [N,size,size,3] uint8, each sent to the browser when it is there."""
    device = runtime.use(generator)
    network, order, token = generator.module, strip.order, uuid.uuid4().hex
    rays = min(_RAYS, network.config.neural_resolution) if super_resolution else strip.size // 2
    options = {"quality": "draft", "resolution": rays, "super_resolve": super_resolution}
    report = runtime.progress(len(strip))
    node = runtime.executing_node()
    pictures = torch.zeros(len(strip), strip.size, strip.size, 3, dtype=torch.uint8)
    frames = network.stream(head.to(device), strip.camera(order).to(device), progress=report, **options)
    for number, frame in zip(order, frames, strict=True):
        pictures[number] = shrunk(frame.image[0], strip.size)
        address = "data:image/jpeg;base64," + base64.b64encode(jpeg(pictures[number])).decode()
        runtime.send(EVENT, {"node": node, "view": number, "picture": address, **_shape(strip, token)})
    if device.type != "cpu":
        network.release_prepared()
    return pictures, token


def _shape(strip: Strip, token: str) -> dict[str, Any]:
    """What the viewer has to know about a strip."""
    return {"token": token, "views": strip.views, "pitches": list(strip.pitches), "size": strip.size}


def _keep(pictures: torch.Tensor, strip: Strip, token: str) -> tuple[Path, dict[str, Any]]:
    """All pictures as one file in temp/, for a page that is opened again; the oldest such file goes."""
    sheet, columns = atlas(pictures)
    path = make_folder(runtime.place("temp")) / f"dualenc_turntable_{token}.jpg"
    with atomic_path(path) as temporary:
        temporary.write_bytes(jpeg(sheet))
    _sheets.append(path)
    while len(_sheets) > _SHEETS_KEPT:
        _sheets.popleft().unlink(missing_ok=True)
    # Not "filename": the results of App mode and the assets panel would show the sheet as a picture.
    file = {"sheet": path.name, "subfolder": "", "type": "temp"}
    return path, {**file, "columns": columns, **_shape(strip, token)}
