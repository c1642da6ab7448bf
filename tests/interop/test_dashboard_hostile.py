"""Proves that nothing that a server, a provider or a model says becomes more than text in an operator's browser."""

import pytest

from payloads import PAYLOADS


@pytest.mark.timeout(90)
def test_each_payload_is_noticed_on_a_page_that_does_not_escape_it(visit, dashboard):
    found = visit("hostile.planted", dashboard, seconds=80, payloads=PAYLOADS, bypassCSP=True)
    print(found)
    assert len(PAYLOADS) >= 150
    assert found["unnoticed"] == []
    # By each of the ways to notice one.
    assert min(found["ran"], found["seen"], found["asked"]) >= 20, found
