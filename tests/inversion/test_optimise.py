"""W+ optimisation, PTI and refinement on a generator of a few kilobytes, whose own heads are the photos."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dualenc_core.camera import Camera
from dualenc_core.errors import DualEncError, GeneratorMismatchError
from dualenc_core.generator import PanoHead
from dualenc_core.inversion import (
    EarlyStop,
    LatentSettings,
    Objective,
    PivotalSettings,
    RefineSettings,
    latent_statistics,
    occlusion_mask,
    optimise_latent,
    pivotal_tuning,
    refine_triplane,
    stitch,
    visibility,
)
from dualenc_core.inversion.fitting import learning_rate, ray_options
from dualenc_core.inversion.perceptual import pyramid
from dualenc_core.rendering.renderer import RenderOptions
from tests.small import small_generator

OBJECTIVE = Objective(pixels=1.0, distance=pyramid(), samples=(8, 8))
LATENT = LatentSettings(steps=30, stay=0.01, statistics=200, objective=OBJECTIVE)
CAMERA = Camera.look_at(15, 5)


@pytest.fixture(scope="module")
def generator() -> PanoHead:
    torch.manual_seed(0)
    network = PanoHead(small_generator(render=RenderOptions(samples=8, importance=8)))
    # A new generator is nearly empty space.
    network.decoder.net[-1].bias.data[0] += 8.0
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def photo(generator) -> torch.Tensor:
    """[1,3,32,32]: another head of the generator."""
    with torch.no_grad():
        head = generator.synthesize(generator.mapping(generator.latents(5), truncation_psi=2.0))
        return generator.render(head, CAMERA).image.clamp(-1, 1)


@pytest.fixture(scope="module")
def fitted(generator, photo):
    return optimise_latent(generator, photo, CAMERA, LATENT)


def error(result, photo) -> float:
    with torch.no_grad():
        view = result.generator.render(result.triplane, result.camera).image
    return float((view - photo).square().mean())


# ------------------------------------------------------------------------------------------------------------ schedules


def test_the_learning_rate_rises_and_falls_as_the_projector_does():
    rates = [learning_rate(step, 500, 0.1, ramp_down=0.25, ramp_up=0.05) for step in range(500)]
    assert rates[0] == 0 and rates[10] == pytest.approx(0.1 * 10 / 25)
    assert rates[25] == rates[375] == pytest.approx(0.1)
    # Half of the cosine is over when an eighth of the steps is left.
    assert rates[437] == pytest.approx(0.1 * (0.5 - 0.5 * math.cos(math.pi * 63 / 125)))
    assert 0 < rates[-1] < 1e-4


def test_the_noise_falls_as_the_square_of_the_time_and_ends_at_three_quarters():
    settings = LatentSettings(steps=100)
    assert settings.noise_at(0, 2.0) == pytest.approx(0.05 * 2.0)
    assert settings.noise_at(30, 2.0) == pytest.approx(0.05 * 2.0 * (1 - 0.3 / 0.75) ** 2)
    assert settings.noise_at(75, 2.0) == settings.noise_at(99, 2.0) == 0


def test_the_published_numbers_are_the_defaults():
    latent, pivotal = LatentSettings(), PivotalSettings()
    assert (latent.steps, latent.rate, latent.ramp_up, latent.ramp_down) == (500, 0.1, 0.05, 0.25)
    assert (latent.noise, latent.noise_share, latent.stay, latent.statistics) == (0.05, 0.75, 1.0, 10_000)
    assert (latent.objective.pixels, latent.objective.perceptual) == (0.1, 1.0)
    assert (pivotal.steps, pivotal.rate, pivotal.objective) == (500, 3e-4, None)


def test_statistics_are_those_of_the_mapping(generator):
    import numpy as np

    found = latent_statistics(generator, 50)
    z = torch.from_numpy(np.random.RandomState(123).randn(50, generator.config.z_dim)).float()
    w = generator.mapping(z, Camera.from_panohead_angles(3.14 / 2, 3.14 / 2))[:, 0]
    assert torch.allclose(found.mean, w.mean(0), atol=1e-6)
    assert found.std == pytest.approx(float((w - w.mean(0)).norm(dim=1).square().mean().sqrt()), rel=1e-5)


def test_rays_start_where_the_projector_starts_and_move_along(generator):
    official = RenderOptions(near=2.25, far=3.3)
    for radius, near in ((2.7, 2.35), (3.0, 2.65)):
        network = PanoHead(generator.config.replace(render=official))
        assert ray_options(network, Objective(), Camera.look_at(0, radius=radius)).near == pytest.approx(near, abs=1e-4)
    close = PanoHead(generator.config.replace(render=RenderOptions(near=2.4, far=3.0)))
    assert ray_options(close, Objective(), Camera.look_at()).near == 2.4


# ----------------------------------------------------------------------------------------------------------- W+, W, PTI


def test_w_plus_comes_closer_to_the_photo(generator, photo, fitted):
    average = generator.synthesize(latent_statistics(generator, 200).mean.expand(1, generator.config.num_ws, -1))
    with torch.no_grad():
        before = float((generator.render(average, CAMERA).image - photo).square().mean())
    assert error(fitted, photo) < 0.5 * before
    assert len(fitted.history) == 30 and fitted.stopped == ""
    made = fitted.triplane.meta["optimised"]
    assert made["perceptual"] == "laplacian-pyramid" and made["note"] and made["method"] == "w+ optimisation"
    assert not fitted.triplane.planes.requires_grad and fitted.generator is generator


def test_w_gives_all_rows_one_vector_and_w_plus_does_not(generator, photo, fitted):
    one = optimise_latent(generator, photo, CAMERA, dataclasses.replace(LATENT, space="w", steps=5))
    assert torch.equal(one.triplane.ws, one.triplane.ws[:, :1].expand_as(one.triplane.ws))
    assert not torch.equal(fitted.triplane.ws[:, 0], fitted.triplane.ws[:, -1])


def test_the_same_seed_is_the_same_head_and_the_generator_stays(generator, photo):
    short = dataclasses.replace(LATENT, steps=6)
    weights = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    torch.manual_seed(11)
    a = optimise_latent(generator, photo, CAMERA, short)
    torch.manual_seed(12)
    state = torch.get_rng_state()
    b = optimise_latent(generator, photo, CAMERA, short)
    other = optimise_latent(generator, photo, CAMERA, dataclasses.replace(short, seed=1))
    assert torch.equal(a.triplane.planes, b.triplane.planes) and a.history == b.history
    assert not torch.equal(a.triplane.ws, other.triplane.ws)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[name], tensor) for name, tensor in generator.state_dict().items())
    assert not any(p.requires_grad for p in generator.parameters())


def test_pti_beats_its_pivot_with_a_generator_of_its_own(generator, photo, fitted):
    seen = []
    settings = PivotalSettings(LATENT, steps=20, rate=3e-3)
    tuned = pivotal_tuning(generator, photo, CAMERA, settings, pivot=fitted, progress=lambda *p: seen.append(p))
    assert error(tuned, photo) < error(fitted, photo)
    assert torch.equal(tuned.triplane.ws, fitted.triplane.ws)
    assert seen == [(i, 20) for i in range(1, 21)]
    assert tuned.generator is not generator and not tuned.generator.training
    with pytest.raises(GeneratorMismatchError):
        generator.render(tuned.triplane, CAMERA)
    assert tuned.triplane.meta["optimised"]["pivot"] == fitted.triplane.meta


def test_pti_finds_its_pivot_and_counts_both_stages(generator, photo):
    seen = []
    settings = PivotalSettings(dataclasses.replace(LATENT, steps=3), steps=2)
    result = pivotal_tuning(generator, photo, CAMERA, settings, progress=lambda *p: seen.append(p))
    assert seen == [(i, 5) for i in range(1, 6)] and len(result.history) == 5


def test_the_camera_offset_is_used_when_it_was_trained(generator, photo):
    assert torch.equal(
        optimise_latent(generator, photo, CAMERA, dataclasses.replace(LATENT, steps=1)).camera.label, CAMERA.label
    )
    trained = PanoHead(generator.config)
    trained.load_weights({k: v.clone() for k, v in generator.state_dict().items()})
    trained.t_mapping.w_avg.fill_(0.1)
    trained.eval().requires_grad_(False)
    result = optimise_latent(trained, photo, CAMERA, dataclasses.replace(LATENT, steps=1))
    offset = torch.tensor(result.triplane.meta["optimised"]["camera_offset"])
    assert offset.abs().max() > 0
    assert torch.allclose(result.camera.position, CAMERA.position + offset, atol=1e-5)
    kept = optimise_latent(trained, photo, CAMERA, dataclasses.replace(LATENT, steps=1, adapt_camera=False))
    assert torch.equal(kept.camera.label, CAMERA.label)


# ----------------------------------------------------------------------------------------------------------- refinement


@pytest.mark.parametrize("mode", ["cells", "points"])
def test_refinement_improves_the_view_and_keeps_what_is_hidden(generator, photo, fitted, mode):
    with torch.no_grad():
        other = generator.synthesize(generator.mapping(generator.latents(9)))
        find = occlusion_mask if mode == "cells" else visibility
        head = stitch(fitted.triplane, other, find(generator, fitted.triplane, CAMERA))
    settings = RefineSettings(steps=25, rate=0.1, objective=OBJECTIVE)
    refined = refine_triplane(generator, head, photo, CAMERA, settings)
    assert error(refined, photo) < error(dataclasses.replace(refined, triplane=head), photo)
    hidden = occlusion_mask(generator, head, CAMERA).channels(head.features) == 1
    assert torch.equal(refined.triplane.planes[hidden], head.planes[hidden])
    assert not torch.equal(refined.triplane.planes, head.planes)
    assert len(refined.triplane.overlays) == len(head.overlays) and torch.equal(refined.triplane.ws, head.ws)
    assert refined.triplane.meta["stitched"]["mode"] == mode and refined.triplane.meta["optimised"]["steps"] == 25


def test_styles_may_move_too(generator, photo, fitted):
    settings = RefineSettings(steps=2, styles=0.1, objective=OBJECTIVE)
    assert not torch.equal(
        refine_triplane(generator, fitted.triplane, photo, CAMERA, settings).triplane.ws, fitted.triplane.ws
    )


def test_a_head_of_another_generator_is_refused(generator, photo, fitted):
    with pytest.raises(GeneratorMismatchError):
        refine_triplane(generator, fitted.triplane.replace(generator="0123456789abcdef"), photo, CAMERA)


# -------------------------------------------------------------------------------------------------- stopping, inference


def test_early_stop_by_patience_and_by_a_loss():
    flat = EarlyStop(patience=3)
    assert flat.reason([3.0, 2.0, 1.0, 1.0, 1.0]) == ""
    assert flat.reason([3.0, 2.0, 1.0, 1.0, 1.0, 1.0]) == "no progress in 3 steps"
    assert flat.reason([1.0] * 9, since=8) == "" and flat.reason([]) == ""
    assert EarlyStop(below=0.5).reason([0.6]) == "" and "0.5" in EarlyStop(below=0.5).reason([0.4])
    assert EarlyStop().reason([1.0] * 100) == ""
    with pytest.raises(DualEncError, match="patience"):
        EarlyStop(patience=0)


def test_a_search_ends_early_and_says_why(generator, photo):
    settings = dataclasses.replace(LATENT, stop=EarlyStop(below=100.0))
    result = optimise_latent(generator, photo, CAMERA, settings)
    assert len(result.history) == 1 and "below 100" in result.stopped
    assert result.triplane.meta["optimised"]["stopped"] == result.stopped


def test_progress_can_interrupt(generator, photo):
    class Stop(Exception):
        pass

    def progress(done, total):
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        optimise_latent(generator, photo, CAMERA, LATENT, progress=progress)


def test_everything_works_in_inference_mode_even_with_weights_made_there(generator, photo, fitted):
    short = dataclasses.replace(LATENT, steps=2)
    outside = optimise_latent(generator, photo, CAMERA, short)
    with torch.inference_mode():
        network = PanoHead(generator.config)
        network.load_weights({k: v.clone() for k, v in generator.state_dict().items()})
        network.eval()
        assert all(p.is_inference() for p in network.parameters())
        image, camera = photo * 1.0, Camera.look_at(15, 5)
        result = optimise_latent(network, image, camera, short)
        pivotal_tuning(network, image, camera, PivotalSettings(short, steps=1), pivot=result)
        refine_triplane(network, fitted.triplane, image, camera, RefineSettings(steps=1, objective=OBJECTIVE))
    assert torch.equal(result.triplane.planes, outside.triplane.planes)
    assert not result.triplane.planes.is_inference()


# ---------------------------------------------------------------------------------------------------------------- wrong


@pytest.mark.parametrize(
    ("image", "camera", "words"),
    [
        (torch.zeros(2, 3, 32, 32), CAMERA, "one aligned portrait"),
        (torch.zeros(1, 3, 32, 16), CAMERA, "one aligned portrait"),
        (torch.zeros(1, 3, 32, 32), Camera.look_at([0, 1]), "2 cameras"),
        (torch.full((1, 3, 32, 32), 255.0), CAMERA, "expected -1..1"),
        (torch.full((1, 3, 32, 32), math.nan), CAMERA, "nan"),
    ],
)
def test_wrong_photos(generator, image, camera, words):
    with pytest.raises(DualEncError, match=words):
        optimise_latent(generator, image, camera, LATENT)


def test_wrong_settings(generator, photo):
    with pytest.raises(DualEncError, match="space"):
        LatentSettings(space="z")
    with pytest.raises(DualEncError, match="steps"):
        PivotalSettings(steps=0)
    with pytest.raises(DualEncError, match="styles"):
        RefineSettings(styles=-1)
    with pytest.raises(DualEncError, match="start has shape"):
        optimise_latent(generator, photo, CAMERA, LATENT, start=torch.zeros(1, 2, 3))
    with pytest.raises(DualEncError, match="lower the rate"):
        optimise_latent(generator, photo, CAMERA, dataclasses.replace(LATENT, steps=40, rate=1e20, ramp_up=0))
