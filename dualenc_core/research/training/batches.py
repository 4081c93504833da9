"""Batches for the trainer of encoders: which pictures a step sees, mirrored or not, on which backdrop, or generated.

A training data set is a `torch.utils.data.Dataset` of dictionaries: "image" [3,S,S] in -1..1, "camera" [25] label,
"matte" [1,S,S] in 0..1 (coverage of the head), and, where it is known, "latent" [z_dim] of the head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ... import procedural
from ...camera import Camera
from ...encoders.spaces import draw_z_plus
from ...errors import DualEncError
from ...generator import PanoHead
from ...triplane import Triplane
from .config import DataConfig, LossConfig, RenderConfig, TrainConfig
from .draws import named, uniform

# Training takes procedural head seeds from here up, evaluation from 1_000_000 up: they never meet.
_FIRST_HEAD = 200_000


class Truth(Protocol):
    """What is known of the heads of a batch beside their photos."""

    def compare(self, triplane: Triplane, generator: PanoHead, weights: LossConfig) -> dict[str, Tensor]:
        """Losses of heads, weighted."""


@dataclass(frozen=True)
class HeadBatch:
    """N heads of one step.

    Attributes:
        image: [N,3,S,S] in -1..1, on the backdrop.
        matte: [N,1,S,S] in 0..1.
        camera: N views.
        styles: [N,num_ws,w_dim] that the heads were made from; rows of NaN where nobody knows.
        slots: their places in the step's batch, over all processes.
        truth: what to compare with instead of the photo, where other sides are known.
        real: [N,num_ws,w_dim] styles of heads that a discriminator takes for real; None = samples of Z+.
    """

    image: Tensor
    matte: Tensor
    camera: Camera
    styles: Tensor
    slots: tuple[int, ...]
    truth: Truth | None = None
    real: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)


class ProceduralPortraits(Dataset):
    """Single views of analytic heads, with details that a generator of them does not know; rendered once, then kept.

    Args:
        count: how many.
        size: side of the pictures.
        yaw, pitch: views go up to this, in degrees, both ways.
    """

    def __init__(self, count: int, size: int, yaw: float = 60.0, pitch: float = 15.0) -> None:
        self.count, self.size, self.yaw, self.pitch = count, size, yaw, pitch
        self._kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        if index not in self._kept:
            seed = _FIRST_HEAD + index
            heads = procedural.sample_heads(1, seed=seed)
            turn, lift = (2 * torch.rand(2, generator=named(seed, "view")) - 1).tolist()
            camera = Camera.look_at(self.yaw * turn, self.pitch * lift)
            out = procedural.render(heads, camera, self.size, antialias=1)
            self._kept[index] = {
                "image": ((out.image[0] + 1) * 127.5).round().clamp(0, 255).byte(),
                "matte": (out.alpha[0] * 255).round().byte(),
                "camera": camera.label[0],
                "latent": heads.latent[0],
            }
        kept = self._kept[index]
        return {**kept, "image": kept["image"].float() / 127.5 - 1, "matte": kept["matte"].float() / 255}


def open_dataset(config: DataConfig) -> Dataset | None:
    """The data set that a configuration names; None for generated heads alone."""
    if config.source == "generated" or config.kind == "none":
        return None
    if config.kind == "procedural":
        return _portraits(config.count or 2048, config.size)
    if config.path is None:
        raise DualEncError("data.kind is 'folder' but data.path is null; set it to a folder with a dataset.json")
    from .folders import open_folder

    return open_folder(config)


@functools.lru_cache(maxsize=1)
def _portraits(count: int, size: int) -> ProceduralPortraits:
    """The same for every training of a process, so that their pictures are drawn once."""
    return ProceduralPortraits(count, size)


class Batches:
    """Real and generated heads by step number; the same number gives the same heads.

    Args:
        config: the run.
        generator: for generated heads, and the styles of known latents.
        dataset: real pictures; None = none.
        backdrop: [3] in -1..1, colour behind every head.
    """

    def __init__(self, config: TrainConfig, generator: PanoHead, dataset: Dataset | None, backdrop: Tensor) -> None:
        if dataset is None and config.data.source != "generated":
            raise DualEncError(f"data.source is {config.data.source!r} but there is no data set; set data.kind")
        if isinstance(dataset, Sized) and len(dataset) == 0:
            raise DualEncError("the data set has no usable pictures; look at its list of rejected ones")
        if config.schedule.latent_steps and isinstance(dataset, ProceduralPortraits):
            if generator.config.z_dim != procedural.LATENT_DIM:
                raise DualEncError(
                    f"schedule.latent_steps is {config.schedule.latent_steps}, but the generator's z_dim is "
                    f"{generator.config.z_dim} where procedural heads have {procedural.LATENT_DIM} numbers: set "
                    "generator to what `train --preset demo-generator` makes, or latent_steps to 0"
                )
        self.config, self.generator, self.dataset, self.backdrop = config, generator, dataset, backdrop
        self._orders: dict[int, Tensor] = {}
        self._ahead: Iterator[dict[str, Tensor]] | None = None
        self._places: Iterator[tuple[int, int]] = iter(())
        self._next: tuple[int, int] | None = None

    def heads(self, step: int, part: int, slots: range) -> HeadBatch:
        """The heads of some slots of part ``part`` of a step."""
        return self._heads(step, self._absolute(part, slots), lambda: self._read(step, part, slots))

    def latents(self, step: int, part: int, slots: range) -> tuple[Tensor, Tensor]:
        """Pictures, and the styles of their heads."""
        batch = self.heads(step, part, slots)
        return batch.image, batch.styles

    def sample(self, slot: int) -> HeadBatch:
        """One head that is always the same, for previews."""
        return self._heads(0, (slot,), lambda: _stacked([self._pictures[self.index(0, slot)]]))

    def _heads(self, step: int, places: tuple[int, ...], read: Callable[[], dict[str, Tensor]]) -> HeadBatch:
        seed, data = self.config.seed, self.config.data
        device = self.generator.w_avg.device
        real = [self.is_real(step, slot) for slot in places]
        items: list[HeadBatch] = []
        if any(real):
            items.append(self._real(step, places, read()))
        if not all(real):
            rngs = [named(seed, "generated", step, slot) for slot in places]
            items.append(generated_heads(self.generator, rngs, data, self.config.render, self.backdrop, places))
        if len(items) == 1:
            return items[0]
        pick = torch.tensor(real, device=device)

        def choose(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(pick.view(-1, *[1] * (a.ndim - 1)), a, b)

        a, b = items
        camera = Camera.from_label(choose(a.camera.label, b.camera.label))
        return HeadBatch(
            choose(a.image, b.image), choose(a.matte, b.matte), camera, choose(a.styles, b.styles), a.slots
        )

    def is_real(self, step: int, slot: int) -> bool:
        """Slot ``slot`` of a step shows a real picture."""
        source = self.config.data.source
        if source != "both":
            return source == "real"
        return bool(torch.rand((), generator=named(self.config.seed, "source", step, slot)) < 0.5)

    @property
    def _pictures(self) -> Any:
        """The data set where there is one; the type `Dataset` has no length."""
        assert self.dataset is not None
        return self.dataset

    def index(self, step: int, slot: int) -> int:
        """Which picture: every one once in an epoch, in an order of its own for each."""
        epoch, place = divmod(step * self.config.schedule.batch + slot, len(self._pictures))
        if epoch not in self._orders:
            order = torch.randperm(len(self._pictures), generator=named(self.config.seed, "epoch", epoch))
            # A batch may reach into the next epoch; older orders are not needed again.
            self._orders = {k: v for k, v in self._orders.items() if k == epoch - 1} | {epoch: order}
        return int(self._orders[epoch][place])

    def _absolute(self, part: int, slots: range) -> tuple[int, ...]:
        schedule = self.config.schedule
        return tuple(part * (schedule.batch // schedule.accumulate) + slot for slot in slots)

    def _real(self, step: int, places: tuple[int, ...], item: dict[str, Tensor]) -> HeadBatch:
        device = self.generator.w_avg.device
        image, matte = item["image"].to(device), item["matte"].to(device)
        camera = Camera.from_label(item["camera"]).to(device)
        flips = [
            bool(torch.rand((), generator=named(self.config.seed, "mirror", step, slot)) < self.config.data.mirror)
            for slot in places
        ]
        flip = torch.tensor(flips, device=device)[:, None, None, None]
        image, matte = torch.where(flip, image.flip(-1), image), torch.where(flip, matte.flip(-1), matte)
        camera = Camera.from_label(torch.where(flip[:, :, 0, 0], camera.mirrored.label, camera.label))
        image = self.backdrop.to(device)[:, None, None].lerp(image, matte)
        styles = unknown_styles(self.generator, len(places))
        if "latent" in item and item["latent"].shape[1] == self.generator.config.z_dim:
            with torch.no_grad():
                # A mirrored head has no known latent: a parting or a mole changes sides.
                known = self.generator.mapping(item["latent"].to(device))
                styles = torch.where(flip[:, :, :, 0], styles, known)
        return HeadBatch(image, matte, camera, styles, places)

    # ---------------------------------------------------------------------------------------------------- reading

    def _read(self, step: int, part: int, slots: range) -> dict[str, Tensor]:
        """The pictures of some slots; read ahead by workers as long as steps come one after another."""
        if not self.config.data.workers:
            return _stacked([self._pictures[self.index(step, slot)] for slot in self._absolute(part, slots)])
        if self._ahead is None or self._next != (step, part):
            order = _Order(self, step, part, slots)
            loader = DataLoader(
                self._pictures,
                batch_sampler=order,
                num_workers=self.config.data.workers,
                collate_fn=_stacked,
                pin_memory=self.generator.w_avg.is_cuda,
            )
            self._ahead, self._places = iter(loader), order.places()
            next(self._places)
        self._next = next(self._places, None)
        return next(self._ahead)


@dataclass(frozen=True)
class _Order:
    """Which pictures this process needs from a step on; parts that show no real picture are left out."""

    batches: Batches
    step: int
    part: int
    slots: range

    def places(self) -> Iterator[tuple[int, int]]:
        """Steps and parts."""
        b, step, part = self.batches, self.step, self.part
        while step < b.config.schedule.steps:
            if any(b.is_real(step, slot) for slot in b._absolute(part, self.slots)):
                yield step, part
            part = (part + 1) % b.config.schedule.accumulate
            step += part == 0

    def __iter__(self) -> Iterator[list[int]]:
        for step, part in self.places():
            yield [self.batches.index(step, slot) for slot in self.batches._absolute(part, self.slots)]


def _stacked(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    known = ("image", "camera", "matte", "latent")
    for name in known[:3]:
        if name not in items[0]:
            raise DualEncError(f"an item of the data set has no {name!r}; expected image, camera and matte")
    return {name: torch.stack([item[name] for item in items]) for name in known if name in items[0]}


def unknown_styles(generator: PanoHead, count: int) -> Tensor:
    """[N,num_ws,w_dim] of NaN."""
    shape = (count, generator.config.num_ws, generator.config.w_dim)
    return torch.full(shape, float("nan"), device=generator.w_avg.device)


@torch.no_grad()
def generated_heads(
    generator: PanoHead,
    rngs: list[torch.Generator],
    data: DataConfig,
    render: RenderConfig,
    backdrop: Tensor,
    slots: tuple[int, ...] = (),
) -> HeadBatch:
    """Heads of the generator from Z+, seen from the front and the sides (paper, training data "Z+"), one rng a head."""
    device = generator.w_avg.device
    ws = draw_z_plus(generator, rngs, data.generated_psi)
    turns = 2 * uniform(rngs, 2) - 1
    camera = Camera.look_at(data.generated_yaw * turns[:, 0], data.generated_pitch * turns[:, 1]).to(device)
    out = generator.render(
        generator.synthesize(ws),
        camera,
        resolution=render.resolution,
        samples=render.samples,
        super_resolve=render.super_resolve,
        background=tuple(((backdrop + 1) / 2).clamp(0, 1).tolist()),
    )
    image, matte = (
        torch.nn.functional.interpolate(x, (data.size, data.size), mode="bilinear", antialias=True, align_corners=False)
        for x in (out.image.clamp(-1, 1), out.alpha.clamp(0, 1))
    )
    return HeadBatch(image, matte, camera, ws, slots)
