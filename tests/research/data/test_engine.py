"""Items on processes: results in any order, put in order; errors that users can act on."""

from __future__ import annotations

import pytest

from dualenc_core.errors import DualEncError, NoFaceError
from dualenc_core.research.data.engine import in_order, run


def fails(item: dict) -> dict:
    raise NoFaceError(f"no face in {item['name']}")


def test_results_are_put_in_order_as_soon_as_possible():
    taken = []

    def results():
        for number in (2, 0, 1, 3):
            taken.append(number)
            yield number, f"item {number}"

    found = in_order(results())
    assert next(found) == "item 0" and taken == [2, 0]
    assert list(found) == ["item 1", "item 2", "item 3"]


@pytest.mark.parametrize(("engine", "workers"), [("local", 1), ("local", 2), ("ray", 1)])
def test_an_error_in_a_worker_reaches_the_user_as_it_is(engine, workers):
    if engine == "ray":
        pytest.importorskip("ray", reason="needs: pip install 'ray[data]'")
    with pytest.raises(NoFaceError, match="^no face in a$"):
        list(run(fails, [{"name": "a"}] * 2, engine, workers))
    with pytest.raises(DualEncError, match="local, ray"):
        list(run(fails, [], "spark"))
