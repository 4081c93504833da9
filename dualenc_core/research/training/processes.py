"""One process or many: the few things that data-parallel training needs of the others.

Gradients are averaged once a step, after all losses have gone backward, instead of by hooks during each backward pass
(DistributedDataParallel): a step has up to four backward passes through parts that come and go (stages, discriminator,
R1), and gradient accumulation must not communicate. The traffic is the same; what is lost is its overlap with
computing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import DualEncError, require

_BUCKET = 1 << 26


@dataclass(frozen=True)
class Processes:
    """This process among all; on its own unless `launched`.

    Attributes:
        rank, count: number of this process, and how many there are.
        device: where this process computes.
        accelerator: Accelerate's, None for a single process.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    accelerator: Any = None

    @classmethod
    def single(cls, device: str = "auto") -> Processes:
        """This process alone, on a device ("auto": CUDA where there is one)."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            return cls(torch.empty(0, device=device).device)
        except RuntimeError as error:
            raise DualEncError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]})") from error

    @classmethod
    def launched(cls, device: str = "auto") -> Processes:
        """As the launcher (``torchrun``, ``accelerate launch``) says; alone when there was none.

        Raises MissingDependencyError when there are several processes but no Accelerate.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls.single(device)
        accelerate = require("accelerate", '"dualenc[train]" (or accelerate)')
        accelerator = accelerate.Accelerator(cpu=device == "cpu", mixed_precision="no")
        return cls(accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator)

    @property
    def main(self) -> bool:
        """This process writes files."""
        return self.rank == 0

    def slots(self, count: int) -> range:
        """This process's share of ``count`` slots. Raises DualEncError when they cannot be shared evenly."""
        if count % self.count:
            raise DualEncError(
                f"{count} heads at a time cannot be shared by {self.count} processes; "
                f"make schedule.batch / schedule.accumulate a multiple of {self.count}"
            )
        share = count // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.accelerator is None:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                continue
            bucket.append(parameter.grad)
            if sum(g.numel() for g in bucket) >= _BUCKET:
                self._average(bucket)
                bucket = []
        if bucket:
            self._average(bucket)

    def _average(self, gradients: list[Tensor]) -> None:
        flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def average(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means of numbers over the processes, which all have the same names."""
        if self.accelerator is None:
            return dict(values)
        packed = torch.tensor([float(v) for v in values.values()], dtype=torch.float32, device=self.device)
        return dict(zip(values, self.accelerator.reduce(packed, reduction="mean").tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """True everywhere if it is true anywhere."""
        return flag if self.accelerator is None else self.average({"flag": float(flag)})["flag"] > 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the process group."""
        if self.accelerator is not None:
            self.accelerator.end_training()
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
