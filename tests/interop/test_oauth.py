"""Proves our OAuth client with real authorization servers: from the first consent to the day when it is needed anew."""

import base64
import time
from urllib.parse import quote_plus, urlencode

import pytest

from browser import Browser, query
from connected import Connected
from github import CLIENT_ID, SECRET
from oauth_direct import send
from oauth_parts import TOKEN_SECONDS

TWO_AND_THREE = {"a": 2, "b": 3}


@pytest.fixture
def start():
    """Starts runs of the example, which end with the test."""
    started = []

    def start(*arguments, **options):
        started.append(Connected(*arguments, **options))
        return started[-1]

    yield start
    for run in started:
        run.close()


@pytest.fixture
def run(start, protected):
    """The example, connected to the Python SDK's server through oidc-provider."""
    run = start(protected.url)
    run.connect()
    return run


@pytest.fixture
def grant(run, protected):
    return Grant(protected.provider, query(run.address)["client_id"])


class Grant:
    """What oidc-provider knows of one client; each run of the example registers one of its own."""

    def __init__(self, provider, client_id):
        self._provider, self._client_id = provider, client_id

    def seen(self, route, **params):
        """What the provider got from this client, and answered."""
        return [e for e in self._provider.seen(route, **params) if e["client"]["client_id"] == self._client_id]

    @property
    def refreshes(self):
        return self.seen("token", grant_type="refresh_token")

    @property
    def refresh_tokens(self):
        """All that were issued, the oldest first."""
        return [e["answer"]["refresh_token"] for e in self.seen("token") if e["status"] == 200]

    def send(self, endpoint, **params):
        """Asks the provider in this client's name, past our own code."""
        client = self.seen("token")[0]["client"]
        assert client["token_endpoint_auth_method"] == "client_secret_basic"
        proof = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
        headers = {"authorization": f"Basic {proof}"}
        return send(f"{self._provider.issuer}{endpoint}", urlencode(params), headers)

    def refresh(self, token):
        return self.send("/token", grant_type="refresh_token", refresh_token=token).json()


def expire():
    time.sleep(TOKEN_SECONDS + 1)


def test_after_one_consent_the_tools_are_there(run, grant, protected):
    assert run.call("add", TWO_AND_THREE) == ("result", Saying("2 and 3 make 5"))
    assert run.call("refuse", {"reason": "not on a Sunday"}) == ("error", Saying("not on a Sunday"))
    assert run.tools == {"add": "Adds two numbers.", "refuse": "Fails, with the reason that it is given."}

    asked = query(run.address)
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert (asked["resource"], asked["redirect_uri"]) == (protected.url, run.callback.partition("?")[0])
    assert "tools" in asked["scope"].split()
    [exchange] = grant.seen("token", grant_type="authorization_code")
    assert exchange["params"]["resource"] == protected.url
    assert (exchange["client"]["application_type"], exchange["client"]["client_name"]) == ("native", "mcp-layer")


def test_a_token_is_refreshed_once_when_it_has_expired(run, grant, protected):
    assert run.call("add", TWO_AND_THREE) == ("result", Saying("5"))
    expire()
    before = len(grant.refreshes)
    assert run.call("add", {"a": 4, "b": 5}) == ("result", Saying("9"))
    assert run.call("add", {"a": 6, "b": 7}) == ("result", Saying("13"))
    [refresh] = grant.refreshes[before:]
    assert (refresh["status"], refresh["params"]["resource"]) == (200, protected.url)
    assert len(set(grant.refresh_tokens)) == len(grant.refresh_tokens), "they are rotated"


def test_a_refresh_token_that_somebody_else_has_used_too_ends_in_a_new_consent(run, grant):
    expire()
    assert run.call("add", TWO_AND_THREE) == ("result", Saying("5"))
    first, *_ = grant.refresh_tokens
    assert grant.refresh(first)["error"] == "invalid_grant"
    expire()
    before = len(grant.refreshes)
    for _ in range(3):
        assert run.call("add", TWO_AND_THREE) == ("error", Saying("needs authorization"))
    # Asked once, and then left alone.
    assert [e["answer"]["error"] for e in grant.refreshes[before:]] == ["invalid_grant"]


def test_an_authorization_that_was_revoked_ends_in_a_new_consent(run, grant):
    assert run.call("add", TWO_AND_THREE) == ("result", Saying("5"))
    assert grant.send("/token/revocation", token=grant.refresh_tokens[-1]).status == 200
    expire()
    assert run.call("add", TWO_AND_THREE) == ("error", Saying("needs authorization"))


def test_at_the_end_the_authorization_is_given_up_and_nothing_secret_was_said(run, grant):
    assert run.call("add", TWO_AND_THREE) == ("result", Saying("5"))
    *_, last = grant.refresh_tokens
    assert run.end() == ("Disconnected.", 0)
    assert last in [e["params"]["token"] for e in grant.seen("revocation") if e["status"] == 200]
    assert grant.refresh(last)["error"] == "invalid_grant"

    secrets = grant.refresh_tokens + [e["answer"]["access_token"] for e in grant.seen("token") if e["status"] == 200]
    secrets += [grant.seen("token")[0]["client"]["client_secret"], query(run.callback)["code"]]
    said = "\n".join(run.said) + run.stderr()
    assert not [secret for secret in secrets if secret in said]


@pytest.mark.parametrize(
    "forged",
    [
        {"error": "access_denied", "error_description": "words of a stranger"},
        {"code": "stolen", "iss": "http://127.0.0.1:1"},
        {"code": "stolen", "state": "guessed"},
    ],
    ids=["denied", "other_issuer", "other_state"],
)
def test_a_callback_without_a_consent_connects_nothing(forged, start, protected):
    run = start(protected.url)
    asked = run.open()
    answer = {"state": asked["state"], "iss": protected.provider.issuer, **forged}
    Browser().open(f"{asked['redirect_uri']}?{urlencode(answer)}")
    assert run.line() is None
    assert run.end()[1] == 1
    assert len(run.stderr().splitlines()) == 1
    assert "words of a stranger" not in run.stderr()
    assert Grant(protected.provider, asked["client_id"]).seen("token") == []


def test_the_typescript_sdks_server_opens_for_the_resource_that_it_names(start, typescript_sdk):
    run = start(typescript_sdk)
    run.connect()
    assert run.call("greet", {"name": "Ada"}) == ("result", Saying("Ada"))
    assert {"greet", "multi-greet"} <= run.tools.keys()
    assert query(run.address)["resource"] == typescript_sdk
    assert run.end() == ("Disconnected.", 0)


def by_hand(github, secret=SECRET):
    """What an operator of a GitHub OAuth app types."""
    return {
        "flags": [
            *("--client-id", CLIENT_ID),
            *("--client-secret-env", "INTEROP_SECRET"),
            *("--authorization-url", github.authorization_url),
            *("--token-url", github.token_url),
            *("--token-auth", "client_secret_post"),
            *("--scopes", "read:user repo"),
        ],
        "env": {"INTEROP_SECRET": secret},
    }


def test_githubs_way_with_endpoints_that_were_typed_by_hand(start, github):
    run = start(github.mcp_url, **by_hand(github))
    run.connect()
    assert run.call("whoami") == ("result", "octocat")
    assert run.tools == {"whoami": "Says who you are."}

    [authorization] = github.received("/login/oauth/authorize")
    [exchange] = github.received("/login/oauth/access_token")
    assert authorization.params["scope"] == ["read:user repo"]
    assert exchange.params["client_id"] == [CLIENT_ID]
    # GitHub knows no resources, and nobody has entered one.
    assert "resource" not in authorization.params.keys() | exchange.params.keys()

    # GitHub lets tokens live until somebody withdraws them.
    github.tokens.clear()
    assert run.call("whoami") == ("error", Saying("needs authorization"))
    assert run.end() == ("Disconnected.", 0)

    with_secret = [request.path for request in github.log if any(form in request.everything for form in spelt(SECRET))]
    assert with_secret == ["/login/oauth/access_token"]


def test_githubs_refusal_with_status_200_is_one(start, github):
    run = start(github.mcp_url, **by_hand(github, secret="not-the-secret"))
    assert not run.consent()
    assert run.end()[1] == 1
    [complaint] = run.stderr().splitlines()
    assert "not-the-secret" not in complaint and "incorrect." not in complaint
    assert github.tokens == set()


def spelt(secret):
    """A secret as it may be in a request: as it is, in a form, or in Base64 with or without a name before it."""
    form = quote_plus(secret)
    names = ["", f"{CLIENT_ID}:"]
    return [secret, form, *(base64.b64encode(f"{name}{s}".encode()).decode() for name in names for s in (secret, form))]


class Saying(str):
    """Equals every text that it is a part of, whatever the case."""

    def __eq__(self, text):
        return self.lower() in text.lower()

    __hash__ = None
