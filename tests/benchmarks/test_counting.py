from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import dualenc_core as dc
from tests.benchmarks.counting import Count, Machine, count


def test_a_convolution_is_counted():
    x, weight = torch.ones(1, 8, 16, 16), torch.ones(4, 8, 3, 3)
    found = count(lambda: F.conv2d(x, weight, padding=1))
    assert found == Count(4 * 8 * 9 * 16 * 16, 4 * (8 * 256 + 4 * 8 * 9 + 4 * 256), 0)


def test_views_and_what_is_not_read_cost_nothing():
    table = torch.ones(100_000, 4)
    assert count(lambda: table.reshape(4, -1).expand(2, 4, -1).transpose(0, 1)).bytes == 0
    # Ten rows read, ten written, ten indices of eight bytes.
    assert count(lambda: table.index_select(0, torch.arange(10))).bytes == 2 * 10 * 16 + 2 * 80


@torch.no_grad()
def test_lookups_of_the_plain_and_the_fast_renderer():
    generator = dc.load_generator("demo")
    head = generator.synthesize(generator.mapping(generator.latents(1)))
    camera = dc.Camera.look_at(20.0)
    options = {"super_resolve": False, "resolution": 16, "samples": (16, 8)}
    plain = count(lambda: generator.render(head, camera, **options, quality="reference"))
    assert plain.lookups == 16 * 16 * 24
    generator.render(head, camera, **options, quality="exact")
    fast = count(lambda: generator.render(head, camera, **options, quality="exact"))
    assert 0.05 * plain.lookups < fast.lookups < 0.5 * plain.lookups
    assert fast.multiply_adds < plain.multiply_adds and fast.bytes < plain.bytes


def test_the_limit_is_the_slower_of_arithmetic_and_memory():
    machine = Machine(multiply_adds=100.0, bytes=10.0)
    assert machine.limit(Count(200, 1, 0)) == 2.0
    assert machine.limit(Count(200, 50, 0)) == 5.0


def test_rates_of_this_machine_are_plausible():
    machine = Machine.measure(torch.device("cpu"), size=256, repeats=2)
    assert 1e8 < machine.multiply_adds < 1e14 and 1e8 < machine.bytes < 1e13
    assert machine.limit(Count(int(machine.multiply_adds), 0, 0)) == pytest.approx(1, rel=1e-6)
