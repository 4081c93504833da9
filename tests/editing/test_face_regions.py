"""Parts of a face: on a photo (public domain), on a render, and on a picture without a face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dualenc_core import procedural
from dualenc_core.camera import Camera
from dualenc_core.editing import FACE_PARTS, face_regions, rendered_face_regions
from dualenc_core.editing.face_regions import convex_hull
from dualenc_core.errors import DualEncError, NoFaceError
from dualenc_core.portrait import align_portrait
from dualenc_core.procedural import Part
from dualenc_core.rendering.rays import camera_rays

SIZE = 128


@pytest.fixture(scope="module")
def portrait():
    return align_portrait(pytest.importorskip("skimage.data").astronaut(), size=SIZE)


def centre(mask: torch.Tensor) -> tuple[float, float]:
    """(x, y) in 0..1."""
    place = (torch.arange(mask.shape[-1]) + 0.5) / mask.shape[-1]
    total = mask.sum()
    return float((mask.sum(-2) * place).sum() / total), float((mask.sum(-1) * place).sum() / total)


def test_parts_of_a_photo(portrait):
    found = face_regions(portrait.image, matte=portrait.matte)
    assert set(found) == set(FACE_PARTS)
    for mask in found.values():
        assert mask.shape == (1, 1, SIZE, SIZE) and 0 <= float(mask.min()) and 0.5 < float(mask.max()) <= 1
    x, y = zip(*(centre(found[part][0, 0]) for part in ("brows", "eyes", "nose", "lips")), strict=True)
    assert list(y) == sorted(y)
    assert max(x) - min(x) < 0.06
    for part in ("brows", "eyes", "nose", "lips"):
        assert (found[part] * (1 - found["face"])).sum() < 0.15 * found[part].sum(), part
    # She has a full head of hair: it lies above and beside the face, on the person.
    hair = found["hair"]
    assert centre(hair[0, 0])[1] < centre(found["face"][0, 0])[1] - 0.1
    assert 0.1 < float(hair.mean()) < 0.35
    assert (hair * (1 - portrait.matte)).mean() < 0.02


def test_growing_takes_in_the_lids(portrait):
    tight, wide = (
        face_regions(portrait.image, matte=portrait.matte, parts=("eyes",), grow=g)["eyes"] for g in (0, 0.1)
    )
    assert wide.sum() > 1.5 * tight.sum() and bool((wide + 1e-3 >= tight).all())


def test_hair_of_known_heads():
    heads = procedural.sample_heads(12, 21, details=False)
    heads = heads[[i for i in range(12) if heads.hair[i] > 0.8][:3]]
    camera = Camera.look_at()
    view = procedural.render(heads, camera, SIZE, antialias=1)
    hair = face_regions(view.image, matte=view.alpha, camera=camera, parts=("hair",))["hair"][:, 0] > 0.5
    origins, directions = camera_rays(camera.expand(len(heads)), SIZE)
    truth = procedural.parts(heads, origins + view.depth.flatten(1)[..., None] * directions)
    truth = ((truth == Part.HAIR) & (view.alpha.flatten(1) > 0.5)).reshape(hair.shape)
    overlap = (hair & truth).sum((1, 2)) / (hair | truth).sum((1, 2))
    assert float(overlap.min()) > 0.5 and float(overlap.mean()) > 0.65, overlap


def test_without_a_face_the_camera_tells(tiny, heads):
    grey = torch.zeros(1, 3, 64, 64)
    with pytest.raises(NoFaceError, match="no face was found in picture 0"):
        face_regions(grey, parts=("eyes",))
    found = face_regions(grey, camera=Camera.look_at(), parts=("eyes", "lips"))
    assert torch.allclose(found["eyes"], found["eyes"].flip(-1), atol=0.3)
    assert centre(found["eyes"][0, 0])[1] < centre(found["lips"][0, 0])[1]
    turned = face_regions(grey, camera=Camera.look_at(30), parts=("nose",))["nose"]
    # Seen from the viewer's right, the nose points to the picture's left.
    assert centre(turned[0, 0])[0] < 0.5 - 0.05
    rendered = rendered_face_regions(tiny, heads[0], parts=("face", "hair"))
    assert rendered["face"].shape == (2, 1, 32, 32)


def test_convex_hull():
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0], [4, 0], [5, 3], [1, 4]])
    inside = corners.mean(0) + 0.3 * (corners[rng.integers(0, 4, 50)] - corners.mean(0)) * rng.random((50, 1))
    hull = convex_hull(np.concatenate([inside, corners]))
    assert sorted(map(tuple, hull)) == sorted(map(tuple, corners))


def test_bad_input(portrait):
    for arguments, message in (
        ({"image": torch.zeros(3, 8, 8)}, "image has shape"),
        ({"image": torch.full((1, 3, 8, 8), 9.0)}, "values from 9"),
        ({"image": torch.full((1, 3, 8, 8), float("nan"))}, "without NaN"),
        ({"image": portrait.image, "matte": torch.ones(2, 1, 8, 8)}, "matte has shape"),
        ({"image": portrait.image, "parts": ("ears",)}, "parts are ears"),
        ({"image": portrait.image, "camera": Camera.look_at([0, 1, 2])}, "3 cameras"),
    ):
        with pytest.raises(DualEncError, match=message):
            face_regions(**arguments)
