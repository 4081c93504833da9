"""The example photo of the shipped workflows: a head that neither generator nor encoders have seen.

python -m tests.tools.workflows.portrait

writes workflows/dualenc_portrait.png. The camera stands a little further off than PanoHead's, so that the aligned crop
lies inside the photo.
"""

from __future__ import annotations

from pathlib import Path

import dualenc_core as dc

PORTRAIT = Path(__file__).resolve().parents[3] / "workflows" / "dualenc_portrait.png"
SEED = 1_000_225
CAMERA = {"yaw": 20.0, "pitch": 3.0, "radius": 3.2, "fov": 13.5}


def main() -> None:
    head = dc.procedural.sample_heads(1, SEED)
    view = dc.procedural.render(head, dc.Camera.look_at(**CAMERA), 512, antialias=3)
    dc.export.save_png(view.image[0], PORTRAIT)


if __name__ == "__main__":
    main()
