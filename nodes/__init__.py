"""ComfyUI nodes: thin adapters over ``dualenc_core``, one file per stage."""

from __future__ import annotations

from pathlib import Path

from . import runtime
from .animate import DualEncAnimate
from .attributes import DualEncAttributes, DualEncAttributesFrom
from .blend import DualEncBlend, DualEncMirror, DualEncMixStyles, DualEncMorph
from .camera import DualEncCamera, DualEncOrbit
from .compare import DualEncCompare
from .convert import DualEncConvert
from .edit import DualEncRegionMask, DualEncTransferRegion
from .encode import DualEncEncode, DualEncInvert, DualEncSample
from .errors import sentence_first
from .export import DualEncMesh, DualEncSaveMesh
from .inputs import refuse_empty
from .mask_view import DualEncMaskView
from .models import DualEncLoadEncoder, DualEncLoadPanoHead
from .optimize import DualEncOptimize
from .portrait import DualEncAlignPortrait
from .render import DualEncRender
from .splats import DualEncSplat
from .stitch import DualEncOcclusionMask, DualEncStitch
from .storage import DualEncLoadTriplane, DualEncSaveTriplane
from .turntable import DualEncTurntable
from .video import DualEncSaveVideo

NODE_DISPLAY_NAME_MAPPINGS = {
    "DualEncLoadPanoHead": "DualEnc Load PanoHead",
    "DualEncLoadEncoder": "DualEnc Load Encoder",
    "DualEncConvert": "DualEnc Convert (Official Weights)",
    "DualEncAlignPortrait": "DualEnc Align Portrait",
    "DualEncEncode": "DualEnc Encode",
    "DualEncOcclusionMask": "DualEnc Occlusion Mask",
    "DualEncStitch": "DualEnc Stitch",
    "DualEncInvert": "DualEnc Invert (Photo to Head)",
    "DualEncOptimize": "DualEnc Optimize (W+, PTI, Refine)",
    "DualEncSample": "DualEnc Sample",
    "DualEncCamera": "DualEnc Camera",
    "DualEncOrbit": "DualEnc Orbit",
    "DualEncRender": "DualEnc Render",
    "DualEncTurntable": "DualEnc Turntable (Turn with the Mouse)",
    "DualEncRegionMask": "DualEnc Region Mask",
    "DualEncMaskView": "DualEnc Mask View",
    "DualEncTransferRegion": "DualEnc Transfer Region (Hair Transfer)",
    "DualEncBlend": "DualEnc Blend",
    "DualEncMorph": "DualEnc Morph",
    "DualEncMirror": "DualEnc Mirror",
    "DualEncMixStyles": "DualEnc Mix Styles",
    "DualEncAttributes": "DualEnc Attributes (Age, Expression, Hair, Light)",
    "DualEncAttributesFrom": "DualEnc Attributes From (Another Head)",
    "DualEncAnimate": "DualEnc Animate",
    "DualEncMesh": "DualEnc Mesh",
    "DualEncSaveMesh": "DualEnc Save Mesh",
    "DualEncSplat": "DualEnc Splat",
    "DualEncSaveTriplane": "DualEnc Save Triplane",
    "DualEncLoadTriplane": "DualEnc Load Triplane",
    "DualEncSaveVideo": "DualEnc Save Video (with Transparency)",
    "DualEncCompare": "DualEnc Compare",
}
_CLASSES = (
    DualEncLoadPanoHead,
    DualEncLoadEncoder,
    DualEncConvert,
    DualEncAlignPortrait,
    DualEncEncode,
    DualEncOcclusionMask,
    DualEncStitch,
    DualEncInvert,
    DualEncOptimize,
    DualEncSample,
    DualEncCamera,
    DualEncOrbit,
    DualEncRender,
    DualEncTurntable,
    DualEncRegionMask,
    DualEncMaskView,
    DualEncTransferRegion,
    DualEncBlend,
    DualEncMorph,
    DualEncMirror,
    DualEncMixStyles,
    DualEncAttributes,
    DualEncAttributesFrom,
    DualEncAnimate,
    DualEncMesh,
    DualEncSaveMesh,
    DualEncSplat,
    DualEncSaveTriplane,
    DualEncLoadTriplane,
    DualEncSaveVideo,
    DualEncCompare,
)
for cls in _CLASSES:
    setattr(cls, cls.FUNCTION, refuse_empty(getattr(cls, cls.FUNCTION)))
NODE_CLASS_MAPPINGS = {cls.__name__: sentence_first(cls) for cls in _CLASSES}

runtime.register_folder()
runtime.share_examples(Path(__file__).resolve().parents[1] / "workflows")
