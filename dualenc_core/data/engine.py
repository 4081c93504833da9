"""One function over many items: on processes of this machine, or on a Ray cluster. Both give the same results."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import DualEncError, require

ENGINES = ("local", "ray")


def run(
    function: Callable[[dict[str, Any]], dict[str, Any]],
    items: Sequence[dict[str, Any]],
    engine: str = "local",
    workers: int = 0,
) -> Iterator[dict[str, Any]]:
    """Results as they come, in any order.

    Args:
        function: of a module, not a closure; takes and returns a dictionary of plain values.
        items: its arguments.
        engine: "local" = processes here; "ray" = Ray Data, on the cluster that Ray is connected to.
        workers: processes at once; 0 = one a processor (at most 8), 1 = in this process when local.

    Raises MissingDependencyError for "ray" without the package, DualEncError when a process was killed.
    """
    if engine not in ENGINES:
        raise DualEncError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
    workers = workers or min(os.cpu_count() or 1, 8)
    if engine == "ray":
        yield from _ray(function, items, workers)
    elif workers == 1 or len(items) < 2:
        for item in items:
            with _one_thread():
                result = function(item)
            yield result
    else:
        yield from _processes(function, items, min(workers, len(items)))


def _processes(function, items: Sequence[dict[str, Any]], workers: int) -> Iterator[dict[str, Any]]:
    # "spawn": forking a process that has run PyTorch's thread pool can hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_calm) as pool:
        try:
            # A few at a time, so that a stop does not wait for everything that was queued.
            queue = iter(items)
            waiting = {pool.submit(function, item) for item in itertools.islice(queue, 2 * workers)}
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    if (item := next(queue, None)) is not None:
                        waiting.add(pool.submit(function, item))
        except concurrent.futures.process.BrokenProcessPool as error:
            raise DualEncError(
                "a worker process was killed, probably for lack of memory; run the same command again with fewer "
                "--workers: it goes on where it stopped"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _calm() -> None:
    """Each worker is one thread; the processes are the parallelism."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Like a worker, in this process: sums that several threads share round differently."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ray(function, items: Sequence[dict[str, Any]], workers: int) -> Iterator[dict[str, Any]]:
    require("ray", "'ray[data]'")
    data = require("ray.data", "'ray[data]'")
    if not items:
        return
    # Ray gives each task one processor and sets the number of threads to it.
    found = data.from_items(list(items)).map(function, concurrency=workers)
    yield from found.iter_rows()
