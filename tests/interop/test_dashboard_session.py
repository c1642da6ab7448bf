"""Proves how one gets into the dashboard, and out of it."""


def test_a_wrong_token_the_right_one_and_the_way_out(visit, dashboard):
    visit("session.inAndOut", dashboard)
