"""parse_outage: what names the outage of a tier, and what does not."""

from __future__ import annotations

import pytest

from tiercluster.node.foreign import parse_outage
from tiercluster.tiermap import TierRef


def test_a_tier_and_its_generation() -> None:
    assert parse_outage("n2/cold@7") == (TierRef.parse("n2/cold"), 7)


@pytest.mark.parametrize(
    "text",
    ["", "n2/cold", "n2/cold@", "n2/cold@-7", "n2/cold@\N{ARABIC-INDIC DIGIT SEVEN}", "n2@7"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"outage|tier"):
        parse_outage(text)
