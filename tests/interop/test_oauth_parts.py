"""Proves the parts of the OAuth tests, without our own client: where one of these fails, look no further."""

import time
from urllib.parse import parse_qsl, urlencode

import pytest

from browser import Browser, query
from github import CLIENT_ID, SECRET
from mcp_direct import Direct
from oauth_direct import CALLBACK, OAuthDirect, send
from oauth_parts import TOKEN_SECONDS


@pytest.fixture
def client(protected):
    return OAuthDirect(protected.url)


def test_a_signed_token_opens_the_server_until_it_expires(protected, client):
    granted = client.connect()
    assert granted["expires_in"] == TOKEN_SECONDS
    session = Direct(protected.url, token=granted["access_token"])
    assert "2 and 3 make 5" in session.call("add", {"a": 2, "b": 3})

    time.sleep(TOKEN_SECONDS + 1)
    refused = send(protected.url, {}, {"authorization": f"Bearer {granted['access_token']}"})
    assert (refused.status, 'error="invalid_token"' in refused.headers["www-authenticate"]) == (401, True)
    renewed = client.refresh(granted["refresh_token"])["access_token"]
    assert Direct(protected.url, token=renewed).server == "python-sdk"


def test_a_token_for_nothing_in_particular_does_not_open_the_server(protected, client):
    client.scope = "openid"
    granted = client.connect()
    assert send(protected.url, {}, {"authorization": f"Bearer {granted['access_token']}"}).status in (401, 403)


def test_the_provider_names_itself_and_serves_only_this_resource(protected, client):
    asked = {"client_id": client.client["client_id"], "redirect_uri": CALLBACK, "response_type": "code", "state": "s"}
    pkce = {"code_challenge": "a" * 43, "code_challenge_method": "S256"}

    def answer(**params):
        url = f"{client.server['authorization_endpoint']}?{urlencode({**asked, 'scope': 'tools', **params})}"
        return query(Browser().consent(url, CALLBACK))

    assert answer(**pkce, resource=client.resource)["iss"] == protected.provider.issuer
    assert answer(**pkce, resource="http://127.0.0.1:1/mcp")["error"] == "invalid_target"
    assert answer(resource=client.resource)["error"] == "invalid_request"


def test_an_old_refresh_token_is_refused_and_takes_its_whole_family_along(client):
    first = client.connect()["refresh_token"]
    second = client.refresh(first)["refresh_token"]
    assert second != first
    assert client.refresh(first)["error"] == "invalid_grant"
    assert client.refresh(second)["error"] == "invalid_grant"


def test_a_revoked_refresh_token_is_of_no_use(client):
    token = client.connect()["refresh_token"]
    assert client.revoke(token) == 200
    assert client.refresh(token)["error"] == "invalid_grant"


def test_the_typescript_sdks_server_opens_for_a_token_of_its_own_and_issues_no_refresh_token(typescript_sdk):
    client = OAuthDirect(typescript_sdk)
    granted = client.connect()
    assert "refresh_token" not in granted
    session = Direct(typescript_sdk, token=granted["access_token"])
    assert "Ada" in session.call("greet", {"name": "Ada"})


def test_the_double_of_github_has_its_habits(github):
    asked = {"client_id": CLIENT_ID, "redirect_uri": CALLBACK, "state": "s", "scope": "repo"}
    answer = query(Browser().consent(f"{github.authorization_url}?{urlencode(asked)}", CALLBACK))
    assert answer.keys() == {"code", "state"}

    form = {"client_id": CLIENT_ID, "code": answer["code"], "redirect_uri": CALLBACK}
    refused = send(github.token_url, urlencode({**form, "client_secret": "wrong"}))
    assert (refused.status, refused.json()["error"]) == (200, "incorrect_client_credentials")
    granted = send(github.token_url, urlencode({**form, "client_secret": SECRET}), {"accept": "*/*"})
    token = dict(parse_qsl(granted.body.decode()))
    assert token.keys() == {"access_token", "token_type", "scope"}
    again = send(github.token_url, urlencode({**form, "client_secret": SECRET}))
    assert (again.status, again.json()["error"]) == (200, "bad_verification_code")

    assert send(github.mcp_url, {}).status == 401
    assert Direct(github.mcp_url, token=token["access_token"]).call("whoami", {}) == "octocat"
