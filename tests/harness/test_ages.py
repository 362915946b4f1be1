"""The judge of near copies, judged."""

from __future__ import annotations

import pytest

from .ages import Ages


@pytest.fixture
def ages() -> Ages:
    made = Ages()
    for number, at in ((1, 10.0), (2, 11.0), (4, 12.0)):
        made.acknowledge("k", number, at)
    return made


@pytest.mark.parametrize(
    ("started", "number", "age"),
    [(11.5, 1, 0.5), (12.5, 1, 1.5), (12.5, 2, 0.5), (12.5, 3, 0.5), (12.5, 4, 0.0),
     (10.5, 1, 0.0), (12.5, 5, 0.0), (12.5, None, 0.0)],
)  # fmt: skip
def test_a_value_is_as_old_as_the_write_that_followed_it(
    ages: Ages, started: float, number: int | None, age: float
) -> None:
    assert ages.age("k", started, number) == age
    assert ages.age("other", started, number) == 0.0
