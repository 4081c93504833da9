"""Run by test_paper_scale.py, alone and under torchrun: gradients of one step, then a short run, into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from dualenc_core.training.processes import Processes
from dualenc_core.training.run import RunOptions, run
from tests.training.paper_small import gradients, paper_config, trainer


def main(out: Path, batch_norm: str, kind: str) -> None:
    torch.set_num_threads(1)
    processes = Processes.launched("cpu")
    config = paper_config(
        variant="encoder2",
        batch_norm=batch_norm,
        discriminator={"kind": kind},
        schedule={"batch": 4, "accumulate": 1},
        data={"source": "both"},
    )
    t = trainer(config, processes=processes)
    if batch_norm == "frozen":
        # Only the encoder's statistics are frozen; the discriminator's must not matter here.
        t.adversary.network.eval()
    gradients(t)
    modules = [t.encoder, t.adversary.network]
    for module in modules:
        processes.average_gradients(module.parameters())
    if processes.main:
        names = [f"{i}.{k}" for i, m in enumerate(modules) for k, p in m.named_parameters() if p.grad is not None]
        grads = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
        torch.save(dict(zip(names, grads, strict=True)), out / "gradients.pt")
    if batch_norm == "sync":
        t = trainer(config, processes=processes)
        run(t, RunOptions(out / "run", steps=3, preview_steps=0, log_steps=1), processes=processes)
    processes.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
