"""A broken input of every kind; thousands come from ``python -m tests.fuzz``, which is not part of the suite."""

from __future__ import annotations

import pytest

from tests.fuzz import dataset, triplane
from tests.fuzz.trial import judge


@pytest.mark.parametrize("subject", [dataset, triplane])
def test_broken_files_are_read_or_refused_in_one_line(subject, tmp_path) -> None:
    outcome = judge(subject.trials(len(subject.BREAKERS), 11, tmp_path))
    assert outcome.findings == []
    assert outcome.accepted["whole"] == 1 and outcome.refused["noise"] == 1
    assert outcome.accepted.keys() | outcome.refused.keys() == subject.BREAKERS.keys()
