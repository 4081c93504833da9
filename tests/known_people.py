"""A small generator whose file says which people it knows, as one that was trained on people has it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import torch

from dualenc_core.checkpoints import save_generator
from dualenc_core.generator import PanoHead
from dualenc_core.people import numbers, sample_people, trait_names
from dualenc_core.people.standard import Standard, styles_of
from dualenc_core.rendering.renderer import RenderOptions
from tests.small import small_generator

CONFIG = small_generator(
    w_dim=256, sr=dataclasses.replace(small_generator().sr, w_dim=256), render=RenderOptions(samples=6, importance=4)
)


@functools.cache
def crowd(count: int = 300) -> np.ndarray:
    """Descriptions [count,D] of people in random light."""
    rng = np.random.default_rng(0)
    spread = np.concatenate([np.full(3, 2.6), np.full(24, 0.8), np.full(3, 0.6)])
    lights = spread * np.concatenate([rng.uniform(0.5, 1.5, (count, 3)), rng.normal(size=(count, 27))], axis=1)
    return np.stack([numbers(p, light) for p, light in zip(sample_people(count, 5), lights, strict=True)])


def standard(without: str = "-") -> Standard:
    """The spread of the crowd, of traits that do not begin with ``without``."""
    whole = Standard.of(crowd())
    kept = np.array([not name.startswith(without) for name in whole.names])
    names = tuple(np.array(whole.names)[kept].tolist())
    return Standard(names, whole.mean[kept], whole.std[kept], whole.importance[kept])


def people_generator(without: str = "-") -> PanoHead:
    """Random weights; w says all."""
    torch.manual_seed(0)
    generator = PanoHead(CONFIG).eval().requires_grad_(False)
    generator.decoder.net[-1].bias.data[0] += 8.0
    generator.provenance = {"note": "random", **standard(without).to_provenance()}
    return generator


def write_people(path: Path) -> Path:
    """The generator's file."""
    generator = people_generator()
    init, rendering = CONFIG.to_official()
    config = {"init_kwargs": init, "rendering_kwargs": rendering, "neural_rendering_resolution": 8}
    save_generator(path, generator.state_dict(), config, generator.provenance)
    return path


def somebody(generator: PanoHead, *indices: int):
    """Heads of people of the crowd, as the generator makes them; the w of descriptions."""
    values = Standard.from_provenance(generator.provenance)(crowd()[list(indices)])
    ws = styles_of(values, CONFIG.w_dim)[:, None].expand(-1, CONFIG.num_ws, -1).contiguous()
    with torch.no_grad():
        return generator.synthesize(ws)


def number_of(index: int, trait: str) -> float:
    """A trait of somebody of the crowd."""
    return float(crowd()[index, trait_names().index(trait)])
