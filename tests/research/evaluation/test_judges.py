"""LPIPS, identity and FID: absent without their weights, and right with them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dualenc_core.checkpoints import save_weights
from dualenc_core.checkpoints.store import WeightsFile
from dualenc_core.encoders import arcface
from dualenc_core.errors import CheckpointError, DualEncError
from dualenc_core.metrics.lpips import LPIPS
from dualenc_core.research.evaluation import FeatureStatistics, find_inception, find_judges, frechet_distance
from dualenc_core.research.evaluation import judges as module
from dualenc_core.research.evaluation.judges import TEMPLATE, aligned_face, similarity


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 256, 256, generator=rng) * 2 - 1
    return a, (a + 0.3 * torch.randn(a.shape, generator=rng)).clamp(-1, 1)


def alexnet() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {}
    for number, (out, into, size) in shapes.items():
        state[f"features.{number}.weight"] = torch.randn(out, into, size, size, generator=rng) * 0.05
        state[f"features.{number}.bias"] = torch.zeros(out)
    return state


def test_without_weights_everything_is_absent_and_says_where_to_get_it(tmp_path, pictures):
    judges = find_judges(tmp_path)
    assert judges.found == {} and judges(*pictures) == {}
    assert set(judges.absent) == {"lpips", "id", "id_curricular"}
    assert all("https://" in reason and "missing" in reason for reason in judges.absent.values())
    assert "model_ir_se50.pth" in judges.absent["id"]


def test_lpips_is_measured_when_its_weights_are_there(tmp_path, pictures):
    pytest.importorskip("lpips")
    path = tmp_path / "lpips-alexnet.safetensors"
    save_weights(path, WeightsFile("lpips-alexnet", alexnet(), {}, {}))
    judges = find_judges(tmp_path)
    assert set(judges.found) == {"lpips"} and "AlexNet" in judges.about["lpips"]
    found = judges(*pictures)["lpips"]
    network = LPIPS.from_files(path)
    assert found.shape == (2,)
    assert float(found[1]) == pytest.approx(float(network(pictures[0][1:], pictures[1][1:])), rel=1e-5)
    assert judges(pictures[0], pictures[0])["lpips"].tolist() == [0, 0]


def test_identity_is_the_cosine_on_the_fixed_crop(tmp_path, pictures):
    torch.manual_seed(0)
    network = arcface.ArcFace()
    save_weights(tmp_path / "arcface.safetensors", WeightsFile("arcface", network.state_dict(), {}, {}))
    judges = find_judges(tmp_path)
    assert set(judges.found) == {"id"}
    a, b = pictures
    expected = (network.identity(a) * network.identity(b)).sum(1)
    assert torch.allclose(judges(a, b)["id"], expected, atol=1e-5)
    assert torch.allclose(judges(a, a)["id"], torch.ones(2), atol=1e-5)


def test_damaged_weights_are_an_error_not_an_absence(tmp_path):
    (tmp_path / "arcface.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{ broken")
    with pytest.raises(CheckpointError):
        find_judges(tmp_path)


# ------------------------------------------------------------------------------------------------- five-point alignment


def test_the_similarity_is_exact_for_similar_points():
    angle = 0.4
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = TEMPLATE @ turn.T + np.array([30.0, -12.0])
    matrix = similarity(TEMPLATE, target)
    assert np.allclose(matrix, np.concatenate([turn, [[30.0], [-12.0]]], axis=1))


def test_a_face_is_brought_onto_the_template_however_it_stands():
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1).float() / 127.5 - 1
    face = aligned_face(photo)
    assert face.shape == (1, 3, 112, 112) and face.min() >= -1 and face.max() <= 1
    # The same face larger, in another place of a picture: nearly the same crop.
    other = aligned_face(torch.nn.functional.interpolate(photo[None, :, :320, 60:380], (512, 512), mode="bilinear")[0])
    assert float((face - other).abs().mean()) < 0.12
    assert aligned_face(torch.zeros(3, 64, 64)) is None


def test_curricularface_judges_aligned_faces_and_says_nothing_without_a_face(monkeypatch):
    data = pytest.importorskip("skimage.data")
    face = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

    def network(crop):
        assert crop.shape == (1, 3, 112, 112)
        return torch.nn.functional.normalize(crop.flatten(1))

    monkeypatch.setattr(module, "load_arcface", lambda *_, **__: network)
    judge = module._curricular("unread", "cpu")
    nobody = torch.zeros_like(face)
    found = judge(torch.cat([face, face]), torch.cat([face, nobody]))
    assert float(found[0]) == pytest.approx(1, abs=1e-5) and torch.isnan(found[1])


# ------------------------------------------------------------------------------------------------------------------ FID


def test_statistics_are_those_of_all_vectors_at_once():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(2)).double()
    statistics = FeatureStatistics()
    for part in x.split(7):
        statistics.add(part)
    mean, covariance = statistics.gaussian()
    assert torch.allclose(mean, x.mean(0)) and torch.allclose(covariance, torch.cov(x.T))
    with pytest.raises(DualEncError, match="at least 2"):
        FeatureStatistics().add(x[:1]).gaussian()


def test_fid_is_absent_without_the_package_or_its_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_fid.inception", None)
    assert "pip install pytorch-fid" in find_inception(tmp_path)


def test_fid_weights_come_from_the_weights_folder_and_nothing_is_fetched(tmp_path, monkeypatch):
    package = pytest.importorskip("pytorch_fid.inception", reason="needs: pip install pytorch-fid")
    assert "pt_inception-2015-12-05-6726825d.pth" in find_inception(tmp_path)
    torch.manual_seed(0)

    def never(*args, **kwargs):
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr(package, "load_state_dict_from_url", never)
    model = package._inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    model.Mixed_5b = package.FIDInceptionA(192, pool_features=32)
    model.Mixed_5c = package.FIDInceptionA(256, pool_features=64)
    model.Mixed_5d = package.FIDInceptionA(288, pool_features=64)
    model.Mixed_6b = package.FIDInceptionC(768, channels_7x7=128)
    model.Mixed_6c = package.FIDInceptionC(768, channels_7x7=160)
    model.Mixed_6d = package.FIDInceptionC(768, channels_7x7=160)
    model.Mixed_6e = package.FIDInceptionC(768, channels_7x7=192)
    model.Mixed_7b = package.FIDInceptionE_1(1280)
    model.Mixed_7c = package.FIDInceptionE_2(2048)
    torch.save(model.state_dict(), tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    features = find_inception(tmp_path)
    found = features(torch.zeros(2, 3, 64, 64))
    assert found.shape == (2, 2048) and torch.allclose(found[0], found[1])
    assert package.load_state_dict_from_url is never


def test_the_distance_of_two_gaussians_is_the_closed_form():
    pytest.importorskip("pytorch_fid", reason="needs: pip install pytorch-fid")
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(4000, 3, generator=rng).double()
    x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    a, b = FeatureStatistics().add(x), FeatureStatistics().add(2 * x + torch.tensor([1.0, 0, 0]))
    # |Δμ|² + tr(I + 4I - 2·2I)
    assert frechet_distance(a, b) == pytest.approx(1 + 3, abs=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
