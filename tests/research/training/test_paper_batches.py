"""What a step of a training on single photos sees: order, mirroring, backdrop, generated heads, sharing."""

from __future__ import annotations

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.encoders import draw_z_plus, latents_to_styles
from dualenc_core.errors import DualEncError
from dualenc_core.research.training.batches import Batches, ProceduralPortraits, open_dataset
from dualenc_core.research.training.draws import named
from tests.research.training.paper_small import Pictures, generator, paper_config

BLUE = torch.tensor([-1.0, -1.0, 1.0])


def batches(dataset=None, **changes) -> Batches:
    return Batches(paper_config(**changes), generator(), Pictures() if dataset is None else dataset, BLUE)


def test_every_picture_is_seen_once_in_an_epoch_and_each_epoch_has_its_own_order():
    b = batches()
    seen = [b.index(step, slot) for step in range(10) for slot in range(2)]
    epochs = [seen[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert seen == [batches().index(step, slot) for step in range(10) for slot in range(2)]


def test_the_same_step_gives_the_same_heads_however_it_is_asked_for():
    config = {"data": {"source": "both"}, "schedule": {"batch": 6}}
    whole = batches(**config).heads(7, 0, range(6))
    shares = [batches(**config).heads(7, 0, range(i, i + 2)) for i in (4, 0, 2)]
    shares = [shares[1], shares[2], shares[0]]
    config["schedule"] = {"batch": 6, "accumulate": 3}
    parts = [batches(**config).heads(7, part, range(2)) for part in range(3)]
    for pieces in (shares, parts):
        assert torch.allclose(torch.cat([p.image for p in pieces]), whole.image, atol=1e-5)
        assert torch.equal(torch.cat([p.camera.label for p in pieces]), whole.camera.label)
        assert sum((p.slots for p in pieces), ()) == whole.slots == tuple(range(6))
    real = [batches(**config).is_real(7, slot) for slot in range(6)]
    assert 0 < sum(real) < 6
    assert (~whole.styles.isnan().flatten(1).any(1)).tolist() == [not r for r in real]


def test_readers_ahead_change_nothing():
    ahead, plain = batches(data={"workers": 2}), batches()
    for step in (0, 1, 2, 6):
        a, b = ahead.heads(step, 0, range(2)), plain.heads(step, 0, range(2))
        assert torch.equal(a.image, b.image) and torch.equal(a.camera.label, b.camera.label)


def test_mirroring_turns_picture_matte_and_camera():
    never, always = batches(data={"mirror": 0.0}), batches(data={"mirror": 1.0})
    for step in range(2):
        a, b = never.heads(step, 0, range(2)), always.heads(step, 0, range(2))
        assert torch.equal(a.image.flip(-1), b.image) and torch.equal(a.matte.flip(-1), b.matte)
        assert torch.equal(a.camera.mirrored.label, b.camera.label)
    half = batches(data={"mirror": 0.5}, schedule={"steps": 40})
    flips = [
        not torch.equal(half.heads(s, 0, range(2)).camera.label, never.heads(s, 0, range(2)).camera.label)
        for s in range(6)
    ]
    assert 0 < sum(flips)


def test_what_is_around_the_head_is_the_backdrop():
    batch = batches().heads(0, 0, range(2))
    outside = batch.matte[:, 0] == 0
    assert (batch.image.permute(0, 2, 3, 1)[outside] == BLUE).all()


def test_generated_heads_come_from_z_plus_and_know_their_styles():
    b = batches(data={"kind": "none", "source": "generated", "generated_psi": 0.7})
    batch = b.heads(3, 0, range(2))
    rngs = [named(0, "generated", 3, slot) for slot in range(2)]
    assert torch.equal(batch.styles, draw_z_plus(b.generator, rngs, 0.7))
    assert batch.image.shape == (2, 3, 32, 32) and batch.matte.shape == (2, 1, 32, 32)
    yaw, pitch = batch.camera.angles
    assert (yaw.abs() <= 60).all() and (pitch.abs() <= 15.1).all()
    g = b.generator
    expected = g.render(g.synthesize(batch.styles), batch.camera, resolution=8, background=(0.0, 0.0, 1.0)).image
    assert torch.allclose(batch.image, expected.clamp(-1, 1), atol=1e-5)


def test_latents_of_z_plus_go_through_the_mapping_one_by_one():
    g = generator()
    z = torch.randn(2, 6, 8, generator=named(1))
    ws = latents_to_styles(g, z, 0.85)
    for n in range(2):
        for row in range(6):
            assert torch.allclose(ws[n, row], g.mapping(z[n, row : row + 1], truncation_psi=0.85)[0, row], atol=1e-6)
    one = latents_to_styles(g, z[:, 0], 0.85)
    assert torch.allclose(one, g.mapping(z[:, 0], truncation_psi=0.85))
    assert not torch.allclose(ws[:, 1], one[:, 1])
    with pytest.raises(DualEncError, match=r"expected \[N,8\]"):
        latents_to_styles(g, z[..., :5])


def test_procedural_portraits_are_deterministic_and_off_the_test_seeds():
    a, b = ProceduralPortraits(3, 24), ProceduralPortraits(3, 24)
    again = b[2]
    assert all(torch.equal(a[2][k], again[k]) for k in again)
    assert set(again) == {"image", "matte", "camera", "latent"}
    assert again["image"].abs().max() <= 1 and 0 <= again["matte"].min() and again["matte"].max() <= 1
    assert not torch.equal(a[0]["image"], a[1]["image"])
    assert Camera.from_label(again["camera"]).label.shape == (1, 25)


def test_data_that_cannot_be_used_is_refused():
    with pytest.raises(DualEncError, match="no data set"):
        Batches(paper_config(), generator(), None, BLUE)
    with pytest.raises(DualEncError, match="no usable pictures"):
        batches(Pictures(0))
    latents = paper_config(losses={"latent": 1.0}, schedule={"latent_steps": 2})
    with pytest.raises(DualEncError, match="z_dim is 8 where procedural heads have 16.*--preset demo-generator"):
        Batches(latents, generator(), ProceduralPortraits(2, 24), BLUE)
    with pytest.raises(DualEncError, match="data.path is null"):
        open_dataset(paper_config(data={"kind": "folder"}).data)

    class Bare(Pictures):
        def __getitem__(self, index):
            return {"image": super().__getitem__(index)["image"]}

    with pytest.raises(DualEncError, match="no 'camera'"):
        batches(Bare()).heads(0, 0, range(2))
