"""DualEnc: one portrait photo to a head that can be seen from every side.

    import dualenc_core as dc

    generator = dc.load_generator("demo")
    dual = dc.DualEncoder(generator, dc.load_encoder("demo-e1"), dc.load_encoder("demo-e2"))
    portrait = dc.align_portrait(photo)
    head = dual.invert(portrait.image, portrait.camera, portrait.matte)
    turntable = generator.render(head.triplane, dc.Camera.orbit(60))

Names are loaded on first use, so that importing the package costs nothing and needs no optional dependency.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME_OF_NAME = {
    "Camera": "camera",
    "CheckpointError": "errors",
    "DualEncError": "errors",
    "DualEncoder": "inversion",
    "GeneratorConfig": "generator",
    "GeneratorMismatchError": "errors",
    "HeadEncoder": "encoders",
    "MissingDependencyError": "errors",
    "NoFaceError": "errors",
    "PanoHead": "generator",
    "Rendering": "rendering.output",
    "Triplane": "triplane",
    "TriplaneMask": "triplane",
    "align_portrait": "portrait",
    "load_encoder": "encoders",
    "load_generator": "generator.loading",
    "match_hidden_colours": "inversion",
    "occlusion_mask": "inversion",
    "stitch": "inversion",
    "visibility": "inversion",
}
_SUBPACKAGES = (
    "checkpoints",
    "editing",
    "encoders",
    "export",
    "generator",
    "inversion",
    "metrics",
    "portrait",
    "procedural",
    "rendering",
    "research",
)

__all__ = sorted(["__version__", *_HOME_OF_NAME, *_SUBPACKAGES])


def __getattr__(name: str) -> Any:
    if name in _HOME_OF_NAME:
        value = getattr(importlib.import_module(f".{_HOME_OF_NAME[name]}", __name__), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
