"""Cameras: one pose, or a move around the head."""

from __future__ import annotations

from .. import dualenc_core as dc
from ..dualenc_core.camera import is_orthographic
from .inputs import CAMERA, LOAD3D_CAMERA, decimal, socket, switch, whole

RADIUS = 2.7
# Focal length 4.2647, PanoHead's.
FOV = 13.374
_FOV_TOOLTIP = "Field of view in degrees; 13.374 is what PanoHead was trained with."
_INFO_TOOLTIP = "for Render Mesh, Render Splat and Preview 3D; lengths in metres, as in DualEnc Mesh."
_PARALLEL = (
    "camera_info is orthographic, but PanoHead can only draw in perspective: the picture has the direction and zoom of "
    "that camera; switch the viewer to perspective to see the same there"
)
_RADIUS_TOOLTIP = "Distance from the middle of the head; 2.7 is what PanoHead was trained with."


class DualEncCamera:
    """Angles → camera."""

    CATEGORY = "DualEnc/camera"
    DESCRIPTION = (
        "One view of the head. Drag on the pad for yaw and pitch, turn the wheel for the distance, double-click for "
        "the front; or link the camera of a Load 3D node."
    )
    SEARCH_ALIASES = [
        "pose",
        "viewpoint",
        "look at",
        "turn head",
        "turn face",
        "face turn",
        "rotate face",
        "rotate head",
        "head rotation",
        "head pose",
        "camera angle",
        "load3d camera",
        "camera info",
    ]
    RETURN_TYPES = (CAMERA, LOAD3D_CAMERA)
    RETURN_NAMES = ("camera", "camera_info")
    OUTPUT_TOOLTIPS = ("The camera, for DualEnc Render.", f"The same camera {_INFO_TOOLTIP}")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "yaw": decimal(
                    0.0, -360.0, 360.0, 0.1, "Degrees round the head: 0 = front, + = to your right, 180 = behind."
                ),
                "pitch": decimal(0.0, -90.0, 90.0, 0.1, "Degrees above (+) or below (-) the head."),
                "roll": decimal(0.0, -180.0, 180.0, 0.1, "Degrees by which the camera is tilted clockwise."),
                "radius": decimal(RADIUS, 1.0, 10.0, 0.01, _RADIUS_TOOLTIP),
                "fov": decimal(FOV, 1.0, 90.0, 0.1, _FOV_TOOLTIP, round=0.001),
            },
            "optional": {
                "camera_info": socket(
                    LOAD3D_CAMERA,
                    "Camera of a Load 3D or Preview 3D node: its direction, roll and zoom replace yaw, pitch and roll. "
                    "One of a DualEnc node replaces radius and fov too.",
                )
            },
        }

    def run(self, yaw, pitch, roll, radius, fov, camera_info=None):
        if camera_info is None:
            camera = dc.Camera.look_at(yaw, pitch, roll, radius, fov)
            return camera, camera.to_load3d()[0]
        # Newer ComfyUI has nodes that give several cameras in one value; its renderers take them so (comfyui.md §2).
        several = isinstance(camera_info, (list, tuple))
        infos = camera_info if several else [camera_info]
        camera = dc.Camera.cat([dc.Camera.from_load3d(info, radius, fov) for info in infos])
        result = camera, camera.to_load3d() if several else camera.to_load3d()[0]
        if any(is_orthographic(info) for info in infos):
            return {"ui": {"dualenc_warnings": [_PARALLEL]}, "result": result}
        return result


class DualEncOrbit:
    """Move around the head → cameras."""

    CATEGORY = "DualEnc/camera"
    DESCRIPTION = "Cameras that go round the head, for a turntable: all round, or from side to side."
    SEARCH_ALIASES = [
        "turntable",
        "camera path",
        "rotate",
        "rotate head",
        "360",
        "360 video",
        "spin",
        "trajectory",
        "camera info",
    ]
    RETURN_TYPES = (CAMERA, "FLOAT", LOAD3D_CAMERA)
    RETURN_NAMES = ("camera", "fps", "camera_info")
    # What takes a LOAD3D_CAMERA takes one; a list makes ComfyUI run it once a frame.
    OUTPUT_IS_LIST = (False, False, True)
    OUTPUT_TOOLTIPS = (
        "One camera a frame, for DualEnc Render.",
        "Frames a second, for Create Video.",
        f"The same cameras as a list {_INFO_TOOLTIP}",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "frames": whole(60, 1, 2000, "How many pictures."),
                "start": decimal(0.0, -3600.0, 3600.0, 1.0, "Yaw of the first frame in degrees; 0 = front."),
                "end": decimal(
                    360.0, -3600.0, 3600.0, 1.0, "Yaw at the end. A full turn leaves the last frame out, so it loops."
                ),
                "pitch": decimal(0.0, -90.0, 90.0, 0.5, "Degrees above (+) or below (-) the head."),
                "swing": switch(False, "Go from start to end and back, slowly at the turns, as a loop."),
                "fps": decimal(24.0, 1.0, 120.0, 1.0, "Frames a second; handed on to the video node."),
                "radius": decimal(RADIUS, 1.0, 10.0, 0.01, _RADIUS_TOOLTIP, advanced=True),
                "fov": decimal(FOV, 1.0, 90.0, 0.1, _FOV_TOOLTIP, round=0.001, advanced=True),
            }
        }

    def run(self, frames, start, end, pitch, swing, fps, radius, fov):
        path = dc.Camera.swing if swing else dc.Camera.orbit
        camera = path(frames, start, end, pitch, radius, fov)
        return camera, fps, camera.to_load3d()
