"""One trial of a fuzz run, and counting what came of many."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dualenc_core.errors import DualEncError


@dataclass(frozen=True)
class Trial:
    """A broken input and what is done with it.

    Attributes:
        kind: what was broken, for the table.
        run: raises DualEncError for an input that is refused; everything else that it raises is a finding.
        evidence: the input, to be kept when there is a finding; a function, so that it costs nothing else.
        suffix: of the file in which it is kept.
    """

    kind: str
    run: Callable[[], None]
    evidence: Callable[[], bytes] = lambda: b""
    suffix: str = "bin"


@dataclass
class Outcome:
    """What came of the trials: accepted and refused ones by kind, findings as (kind, number, traceback), seconds."""

    accepted: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    findings: list[tuple[str, int, str]] = field(default_factory=list)
    seconds: float = 0.0


def judge(trials: Iterable[Trial], keep: Path | None = None, progress: Callable[[int], None] | None = None) -> Outcome:
    """Run trials; the inputs of findings are written to ``keep``."""
    outcome, start = Outcome(), time.perf_counter()
    for number, trial in enumerate(trials):
        try:
            trial.run()
        except DualEncError as error:
            if "\n" in str(error) or not str(error).strip():
                outcome.findings.append((trial.kind, number, f"not one line: {error!r}"))
            outcome.refused[trial.kind] += 1
        except Exception:
            outcome.findings.append((trial.kind, number, traceback.format_exc()))
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{number}.{trial.suffix}").write_bytes(trial.evidence())
        else:
            outcome.accepted[trial.kind] += 1
        if progress is not None:
            progress(number + 1)
    outcome.seconds = time.perf_counter() - start
    return outcome


def table(outcome: Outcome) -> str:
    """Markdown, one row a kind."""
    found = Counter(kind for kind, _, _ in outcome.findings)
    kinds = sorted(outcome.accepted.keys() | outcome.refused.keys() | found.keys())
    rows = [f"| {kind} | {outcome.accepted[kind]} | {outcome.refused[kind]} | {found[kind]} |" for kind in kinds]
    return "\n".join(["| kind | accepted | refused in one line | uncaught |", "|---|---|---|---|", *rows])
