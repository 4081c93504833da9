"""One function over many items: on processes of this machine, or on a Ray cluster. Both give the same results."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ...errors import DualEncError, require

# From a description of one item to one of its result; both can be pickled.
Work = Callable[[dict[str, Any]], dict[str, Any]]

ENGINES = ("local", "ray")
T = TypeVar("T")


def run(
    function: Work,
    items: Sequence[dict[str, Any]],
    engine: str = "local",
    workers: int = 0,
    device: str = "cpu",
) -> Iterator[dict[str, Any]]:
    """Results as they come, in any order.

    Args:
        function: of a module, not a closure. What it loads it may keep: a worker takes many items.
        items: its arguments, of anything that can travel between processes.
        engine: "local" = processes here; "ray" = Ray Data, on the cluster that Ray is connected to.
        workers: processes at once; 0 = one a processor (at most 8) on the CPU and one on a GPU; 1 = in this process
            when local.
        device: what ``function`` computes on. Each Ray worker asks for a GPU of its own when it is "cuda".

    Raises MissingDependencyError for "ray" without the package, DualEncError when a process was killed.
    """
    if engine not in ENGINES:
        raise DualEncError(f"engine is {engine!r}, expected one of {', '.join(ENGINES)}")
    on_gpu = not device.startswith("cpu")
    workers = workers or (1 if on_gpu else min(os.cpu_count() or 1, 8))
    if engine == "ray":
        yield from _ray(function, items, workers, gpus=1 if device.startswith("cuda") else 0)
    elif workers == 1 or len(items) < 2:
        for item in items:
            with _one_thread():
                result = function(item)
            yield result
    else:
        yield from _processes(function, items, min(workers, len(items)))


def in_order(results: Iterable[tuple[int, T]]) -> Iterator[T]:
    """Results that are numbered from 0 and come in any order, in order."""
    early: dict[int, T] = {}
    following = 0
    for number, result in results:
        early[number] = result
        while following in early:
            yield early.pop(following)
            following += 1


def _processes(function: Work, items: Sequence[dict[str, Any]], workers: int) -> Iterator[dict[str, Any]]:
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


class _Parcel:
    """Ray keeps rows as Arrow tables, which change some types on the way; of this class they know nothing."""

    def __init__(self, content: Any) -> None:
        self.content = content


class _RayWorker:
    """An actor: unlike a task's, its process stays, so that ``function`` loads its networks once."""

    def __init__(self, function: Work) -> None:
        _calm()
        self.function = function

    def __call__(self, row: dict[str, _Parcel]) -> dict[str, _Parcel]:
        try:
            return {"parcel": _Parcel(self.function(row["parcel"].content))}
        except (DualEncError, OSError) as error:
            # As it is, without Ray's own traceback around it.
            return {"parcel": _Parcel(error)}


def _ray(function: Work, items: Sequence[dict[str, Any]], workers: int, gpus: int) -> Iterator[dict[str, Any]]:
    require("ray", "'ray[data]'")
    data = require("ray.data", "'ray[data]'")
    if not items:
        return
    rows = data.from_items([{"parcel": _Parcel(item)} for item in items])
    found = rows.map(
        _RayWorker,
        fn_constructor_args=(function,),
        concurrency=(1, min(workers, len(items))),
        num_cpus=1,
        num_gpus=gpus,
    )
    for row in found.iter_rows():
        result = row["parcel"].content
        if isinstance(result, (DualEncError, OSError)):
            raise result
        yield result
