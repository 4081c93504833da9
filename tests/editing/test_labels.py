"""Directions by labels of a generator's own heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dualenc_core as dc
from dualenc_core.editing import find_directions
from dualenc_core.editing import labels as labels_module
from dualenc_core.editing.direction_file import joined
from dualenc_core.editing.labels import LABELS, face_measures, labelled_directions, regressed
from dualenc_core.errors import DualEncError
from dualenc_core.portrait.alignment import CALIBRATION


def _mesh() -> np.ndarray:
    """The average face from the front: x to the right, y down."""
    return CALIBRATION.vertices()[:, :2] * (1, -1)


def test_faces_are_measured():
    neutral = face_measures(_mesh())
    assert 0.4 < neutral["mouth_width"] < 0.8 and 0.6 < neutral["face_width"] < 1.1 and neutral["mouth_open"] < 0.1

    def changed(indices, x=0.0, y=0.0) -> dict[str, float]:
        mesh = _mesh()
        mesh[list(indices)] += (x, y)
        found = face_measures(mesh)
        return {name for name in found if abs(found[name] - neutral[name]) > 1e-3} - {"face_width"}, found

    names, found = changed([61, 291], y=-0.01)
    assert names == {"smile"} and found["smile"] > neutral["smile"]
    names, found = changed([105, 334], y=-0.01)
    assert names == {"brows_up"} and found["brows_up"] > neutral["brows_up"]
    names, found = changed([159, 386], y=-0.004)
    assert names == {"eyes_open", "brows_up"} and found["eyes_open"] > neutral["eyes_open"]
    assert face_measures(3 * _mesh() + 7) == pytest.approx(neutral, abs=1e-6)


def test_directions_move_their_own_label_by_a_deviation():
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(400, 6, generator=rng, dtype=torch.float64) @ torch.randn(6, 6, generator=rng, dtype=torch.float64)
    maps = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    labels = 10 * w @ maps + 3
    moved = 10 * regressed(w, labels) @ maps
    assert torch.allclose(moved, torch.diag(labels.std(0, correction=0)), atol=1e-6)


def test_the_generators_own_heads_are_measured(monkeypatch, tiny):
    seen = []

    def measured(image, alpha, device):
        seen.append(image)
        # Every fifth shows no face.
        return None if len(seen) % 5 == 0 else {name: float(image.mean()) * (i + 1) for i, name in enumerate(LABELS)}

    monkeypatch.setattr(labels_module, "measures", measured)
    known = labelled_directions(tiny, 50)
    assert [a.name for a in known.attributes] == [f"{name}_label" for name in LABELS]
    assert {a.group for a in known.attributes} == {"expression", "face", "hair"} and len(seen) == 50
    assert (
        known.vectors.shape == (len(LABELS), tiny.config.num_ws, tiny.config.w_dim) and known.vectors.isfinite().all()
    )
    both = joined(find_directions(tiny, 2, 0, 50), known)
    assert len(both.attributes) == 2 + len(LABELS) and torch.equal(both.vectors[2:], known.vectors)
    with pytest.raises(DualEncError, match="used twice"):
        joined(known, known)
    with pytest.raises(DualEncError, match="8 of 10 sampled heads show a face"):
        seen.clear()
        labelled_directions(tiny, 10)


def test_a_render_of_a_head_is_measured():
    generator = dc.load_generator("demo")
    head = generator.synthesize(generator.w_avg.expand(1, generator.config.num_ws, -1))
    with torch.no_grad():
        view = generator.render(head, dc.Camera.look_at(), quality="draft")
    found = labels_module.measures(view.image[0], view.alpha[0])
    assert found is not None and found.keys() == LABELS.keys() and all(map(np.isfinite, found.values()))
    assert 0 < found["hair_lightness"] < 1 and 0 < found["skin_lightness"] < 1 and found["mouth_open"] < 0.2
    grey = torch.zeros(3, 256, 256)
    assert labels_module.measures(grey, torch.ones(1, 64, 64)) is None
