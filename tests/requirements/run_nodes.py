"""Run every node once, with as little work as it takes. Usage: python run_nodes.py FOLDER_OF_THE_PACK

Not a test by itself: test_requirements.py runs it where only what requirements.txt names is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

SMALL = {"resolution": 16, "samples": 8, "super_resolution": False}


def load(folder: Path):
    """The pack, as ComfyUI loads it."""
    spec = importlib.util.spec_from_file_location(
        "pack", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    spec.loader.exec_module(module)
    return module


def main(folder: Path) -> None:
    classes = load(folder).NODE_CLASS_MAPPINGS
    left = set(classes)

    def run(name: str, **given: Any) -> tuple:
        left.discard(name)
        cls = classes[name]
        defaults = {}
        for key, (kind, options) in cls.INPUT_TYPES()["required"].items():
            if key not in given:
                defaults[key] = options.get("default", kind[0] if isinstance(kind, list) else None)
        with torch.inference_mode():
            answer = getattr(cls(), cls.FUNCTION)(**defaults, **given)
        return answer["result"] if isinstance(answer, dict) else answer

    generator = run("DualEncLoadPanoHead")[0]
    encoder = run("DualEncLoadEncoder")[0]
    head = run("DualEncSample", generator=generator, seed=3)[0]
    camera = run("DualEncCamera", yaw=10.0)[0]
    orbit = run("DualEncOrbit", frames=2)[0]
    made = {"generator": generator, "triplane": head}
    photo = run("DualEncRender", **made, camera=camera)[0]
    small = run("DualEncRender", **made, camera=orbit, background="colour", **SMALL)[0]
    run("DualEncAlignPortrait", image=photo, pose="by hand")
    run("DualEncEncode", generator=generator, encoder=encoder, image=photo, camera=camera)
    run("DualEncInvert", generator=generator, encoder1=encoder, encoder2=encoder, image=photo, camera=camera)
    mask = run("DualEncOcclusionMask", **made, camera=camera)[0]
    run("DualEncStitch", visible=head, occluded=head, mask=mask)
    options = {"mode": "PTI", "steps": 1, "tune_steps": 1}
    run("DualEncOptimize", generator=generator, image=photo, camera=camera, **options)
    hair = run("DualEncRegionMask", **made, part="hair")[0]
    run("DualEncMaskView", **made, mask=hair, camera=camera)
    run("DualEncTransferRegion", generator=generator, target=head, reference=head, mask=hair)
    run("DualEncBlend", generator=generator, first=head, second=head)
    run("DualEncMorph", generator=generator, triplane=head, second=head, camera=camera, frames=2)
    run("DualEncMirror", triplane=head)
    run("DualEncMixStyles", generator=generator, first=head, second=head)
    lent = run("DualEncAttributesFrom", **made)[0]
    run("DualEncAttributes", **made, values=lent)
    run("DualEncAnimate", **made, seconds=0.1)
    mesh = run("DualEncMesh", **made, resolution=48, triangles=1000, texture=128, smooth=1)[0]
    for kind in ("glb", "ply", "obj", "stl"):
        run("DualEncSaveMesh", mesh=mesh, format=kind)
    path = run("DualEncSaveTriplane", triplane=head)[0]
    run("DualEncLoadTriplane", path=path)
    for kind in ("mp4", "webp", "png"):
        run("DualEncSaveVideo", image=small, format=kind)
    # Its weights are not here; what it needs besides is what is asked.
    try:
        run("DualEncCompare", image=small, reference=small, perceptual=True)
    except ValueError as error:
        assert "is missing" in str(error), error
    run("DualEncCompare", image=small, reference=small)
    sys.modules["pack.nodes.runtime"].comfy = {"folder_paths": folders(Path("models"))}.get
    torch.save({"state_dict": {"some.layer": torch.zeros(3)}}, "models/mine.pt")
    try:
        run("DualEncConvert", file="mine.pt")
    except ValueError as error:
        assert "not a pSp or TriPlaneNet checkpoint" in str(error), error
    assert not left, f"not run: {', '.join(sorted(left))}"
    print("every node ran")


def folders(home: Path) -> SimpleNamespace:
    home.mkdir(exist_ok=True)
    return SimpleNamespace(
        get_filename_list=lambda key: [path.name for path in home.iterdir()],
        get_full_path=lambda key, name: str(home / name) if (home / name).is_file() else None,
        get_folder_paths=lambda key: [str(home)],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
