"""Run by test_paper_scale.py, alone and under torchrun: gradients of one step, then a short run, into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from dualenc_core.research.training.processes import Processes
from dualenc_core.research.training.run import RunOptions, run
from tests.research.training.paper_small import gradients, paper_config, trainer


def main(out: Path) -> None:
    torch.set_num_threads(1)
    processes = Processes.launched("cpu")
    for batch_norm, kind in (("sync", "occluded"), ("frozen", "image")):
        config = paper_config(
            variant="encoder2",
            batch_norm=batch_norm,
            discriminator={"kind": kind},
            schedule={"batch": 4},
            data={"source": "both"},
        )
        t = trainer(config, processes=processes)
        if batch_norm == "frozen":
            # Only the encoder's statistics are frozen; the discriminator's must not matter here.
            t.adversary.network.eval()
        gradients(t)
        modules = {"encoder": t.encoder, "discriminator": t.adversary.network}
        for module in modules.values():
            processes.average_gradients(module.parameters())
        if processes.main:
            parameters = {f"{n}.{k}": p for n, m in modules.items() for k, p in m.named_parameters()}
            torch.save({k: p.grad for k, p in parameters.items() if p.grad is not None}, out / f"{batch_norm}.pt")
        if batch_norm == "sync":
            t = trainer(config, processes=processes)
            run(t, RunOptions(out / "run", steps=3, preview_steps=0, log_steps=1), processes=processes)
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
