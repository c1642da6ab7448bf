"""Proves that operators sign in at npm `oidc-provider`, and have the role that it gives them, for as long as it does."""

import re
import time
from html import unescape
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest

from browser import Browser
from conftest import MODULES, Part, free_port
from oauth_direct import send
from operated import Operated

CLIENT, SECRET = "gateway", "a-secret-of-the-operators-client"
SCRIPT = Path(__file__).with_name("oidc_operators.mjs")


class Provider(Part):
    def __init__(self, redirect_uri):
        self.issuer = f"http://127.0.0.1:{free_port()}"
        # Where it lies, Node.js looks for the packages that it imports.
        script = MODULES.parent / SCRIPT.name
        script.write_text(SCRIPT.read_text())
        super().__init__("oidc-operators", ["node", script, self.issuer, CLIENT, SECRET, redirect_uri])
        self.ready(lambda: send(f"{self.issuer}/control/ready").status == 200)

    def control(self, what):
        assert send(f"{self.issuer}/control/{what}").status == 200


@pytest.fixture
def stage():
    port = free_port()
    # The proxy takes this one: its address is in what the provider is told first.
    public = f"http://127.0.0.1:{port}"
    with Provider(f"{public}/sign-in/callback") as provider:
        roles = '{ admin = ["ops"], viewer = ["guests"] }'
        more = f'''
            [oidc]
            issuer = "{provider.issuer}"
            client_id = "{CLIENT}"
            client_secret_env = "OIDC_SECRET"
            role_claim = "groups"
            roles = {roles}
        '''
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OIDC_SECRET", SECRET)
            patch.setattr("operated.free_port", iter([free_port(), port]).__next__)
            with Operated("operators", "http://127.0.0.1:1/v1", more) as proxy:
                yield provider, proxy


def sign_in(proxy):
    """A browser that went to the provider and came back; what it was shown at the end."""
    browser = Browser()
    url = f"{proxy.public}/sign-in/provider?next=%2Faudit"
    callback = browser.consent(url, f"{proxy.public}/sign-in/callback")
    return browser, browser.open(callback)


def status(browser, proxy, path):
    return browser.open(proxy.public + path)[0]


def test_one_signs_in_and_has_the_role_that_the_provider_gives(stage):
    provider, proxy = stage
    browser, (shown, _, page) = sign_in(proxy)
    assert (shown, "You have the role admin" in page) == (200, True), page
    onwards = unescape(re.search(r'content="0; url=([^"]*)"', page)[1])
    shown, _, page = browser.open(urljoin(proxy.public, onwards))
    name = re.search(r"oidc:ann#[0-9a-f]{8}", page)
    assert (shown, bool(name)) == (200, True), page
    assert status(browser, proxy, "/operators") == 200
    query = f"operator={quote(name[0])}"
    entries = proxy.operate("GET", f"/api/v1/audit?{query}")[1]["entries"]
    assert [entry["action"] for entry in entries] == ["operator.sign_in"]


@pytest.mark.timeout(150)
def test_another_role_is_in_force_within_a_minute_and_none_ends_the_session(stage):
    provider, proxy = stage
    browser, _ = sign_in(proxy)
    assert status(browser, proxy, "/operators") == 200
    provider.control("groups/guests")
    until(lambda: status(browser, proxy, "/operators") == 403, 60)
    assert status(browser, proxy, "/servers") == 200
    provider.control("groups/others")
    until(lambda: status(browser, proxy, "/servers") == 303, 60)


def test_somebody_without_a_role_is_told_which_claim_is_missing(stage):
    provider, proxy = stage
    provider.control("groups/others")
    _, (shown, _, page) = sign_in(proxy)
    assert (shown, "claim groups" in page) == (403, True), page


@pytest.mark.timeout(90)
def test_somebody_who_left_is_signed_out(stage):
    provider, proxy = stage
    browser, _ = sign_in(proxy)
    assert status(browser, proxy, "/servers") == 200
    provider.control("leave")
    until(lambda: status(browser, proxy, "/servers") == 303, 60)


def until(so, seconds):
    ends = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < ends, f"not within {seconds} s"
        time.sleep(1)
