"""DualEnc Optimize, in inference mode as ComfyUI runs it."""

from __future__ import annotations

import pytest
import torch

from .conftest import Runner

STEPS = {"steps": 3, "tune_steps": 2, "seed": 0}


@pytest.fixture(scope="module")
def made(node: Runner, generator, photo):
    camera = node("DualEncCamera", yaw=10.0)[0]

    def run(**given):
        return node("DualEncOptimize", generator=generator, image=photo, camera=camera, **{**STEPS, **given})

    return run


@pytest.fixture(scope="module")
def quick(dc):
    """Fewer samples than usual: what is tested here is the node."""
    from unittest.mock import patch

    objective = dc.inversion.Objective
    with patch.object(dc.inversion, "Objective", lambda **options: objective(**{**options, "samples": (6, 6)})):
        yield


def test_w_plus_passes_the_generator_on(made, quick, generator) -> None:
    used, triplane, camera, picture, report = made(mode="W+")
    assert used is generator and len(triplane) == len(camera) == 1
    assert picture.shape == (1, 512, 512, 3) and 0 <= float(picture.min()) <= float(picture.max()) <= 1
    assert "w+ optimisation: 3 steps" in report and "laplacian-pyramid" in report and "LPIPS is not used" in report
    assert torch.equal(made(mode="W+")[1].planes, triplane.planes)


def test_what_likeness_lacks_is_said_with_link_and_folder(made, quick, pack) -> None:
    import sys

    report = made(mode="W+", steps=1)[4]
    home = sys.modules[pack.__name__ + ".nodes.runtime"].model_home()
    assert "get vgg16-397923af.pth from https://" in report and f"put it into {home}" in report


def test_pti_gives_a_tuned_generator_that_renders_the_head(made, quick, node, generator) -> None:
    used, triplane, camera, _, report = made(mode="PTI")
    assert used is not generator and "tuned by PTI" in used.name and report.startswith("PTI: 2 steps")
    small = {"resolution": 16, "samples": 8, "super_resolution": False}
    node("DualEncRender", generator=used, triplane=triplane, camera=camera, **small)
    with pytest.raises(ValueError, match="was made by generator"):
        node("DualEncRender", generator=generator, triplane=triplane, camera=camera, **small)


def test_refine_improves_a_head(made, quick, head) -> None:
    used, triplane, _, _, report = made(mode="refine", triplane=head, steps=4)
    assert not torch.equal(triplane.planes, head.planes) and report.startswith("refinement: 4 steps")
    with pytest.raises(ValueError, match="connect the triplane to improve"):
        made(mode="refine")


def test_one_portrait_at_a_time(node, generator, photo) -> None:
    two = {"generator": generator, "image": photo.expand(2, -1, -1, -1), "camera": node("DualEncCamera")[0]}
    with pytest.raises(ValueError, match="one portrait at a time"):
        node("DualEncOptimize", **two, **STEPS)


def test_the_matte_replaces_the_surroundings(made, quick, photo) -> None:
    matte = torch.zeros(1, 64, 64)
    matte[:, 16:48, 16:48] = 1
    with_matte, without = (made(mode="W+", steps=1, **more)[4] for more in ({"matte": matte}, {}))
    assert with_matte != without


def test_the_user_can_stop_it(made, quick, pack, monkeypatch) -> None:
    import sys

    runtime = sys.modules[pack.__name__ + ".nodes.runtime"]

    class Interrupted(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise Interrupted

    monkeypatch.setattr(runtime, "check_interrupt", check)
    with pytest.raises(Interrupted):
        made(mode="W+", steps=50)
    assert len(calls) == 2


def test_lpips_is_looked_for_in_the_models_folder(made, quick, pack, tmp_path, monkeypatch) -> None:
    import sys

    models = sys.modules[pack.__name__ + ".nodes.models"]
    asked = []
    monkeypatch.setattr(models.runtime, "find_model", lambda name: asked.append(name))
    made(mode="W+", steps=1)
    assert set(asked) == {"vgg16-397923af.pth"}
    monkeypatch.setattr(models.runtime, "find_model", lambda name: tmp_path / name)
    with pytest.raises(ValueError, match=r"vgg16-397923af\.pth"):
        made(mode="W+", steps=1)
