"""Proves that servers behind Google, Entra ID, Cognito, Keycloak, Okta and Auth0 can be connected, as these document themselves.

Each is oidc-provider with their habits (`oidc_shapes.mjs`), in front of it the Python SDK's server, and an operator who
uses REST: connect, call, let the token expire, call again, disconnect. Where the first attempt must fail, the answer
has to say what helps, and that is then done.
"""

import json
import time

import pytest

from browser import Browser, query
from oauth_direct import send
from oauth_parts import TOKEN_SECONDS, protected_from
from operated import Operated
from upstream import call, completion

PATHS = {"entra": "/tenant/v2.0", "cognito": "/eu-west-1_pool", "keycloak": "/realms/tools", "okta": "/oauth2/default"}


@pytest.fixture(scope="module")
def operated(model_server):
    proxy = Operated("shapes", model_server.url)
    yield proxy
    proxy.stop()


@pytest.fixture
def shaped(request, operated, model):
    """The operator's work on a server behind a provider of this shape."""
    shape = request.param
    for protected in protected_from(f"shape-{shape}", host="localhost", options=[shape], path=PATHS.get(shape, "")):
        yield Operator(operated, protected, model, shape)


def shape(name):
    return pytest.mark.parametrize("shaped", [name], indirect=True)


class Operator:
    def __init__(self, proxy, protected, model, name):
        self._proxy, self._model, self.name = proxy, model, name
        self.provider, self.issuer = protected.provider, protected.provider.issuer
        self._path = f"/api/v1/servers/{name}"
        created = self.ask("POST", "/api/v1/servers", {"name": name, "url": protected.url, "auth": {"type": "oauth2"}})
        self.callback = f"{proxy.public}/oauth/callback/{created['id']}"

    def ask(self, method, path, body=None, status=None):
        got, answer = self._proxy.operate(method, path, body)
        assert got == (status or (201 if method == "POST" and body else 200)), answer
        return answer

    def enters(self, **auth):
        """Changes the client of the server, as a form does."""
        server = self.ask("GET", self._path)
        self.ask("PUT", self._path, {**server, "auth": {"type": "oauth2", **auth}})

    def registers(self):
        """A client that an administrator makes at the provider: what an operator enters of it."""
        metadata = {"redirect_uris": [self.callback], "application_type": "native"}
        metadata |= {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]}
        client = send(f"{self.issuer}/reg", metadata, {"x-by-hand": "yes"}).json()
        return {name: client[name] for name in ("client_id", "client_secret")}

    def endpoints(self, query=""):
        return {"authorization_url": f"{self.issuer}/auth{query}", "token_url": f"{self.issuer}/token"}

    def is_refused(self):
        """The message and the member of a connect that cannot begin."""
        error = self.ask("POST", f"{self._path}/oauth/connect", status=400)["error"]
        assert "secret-of" not in json.dumps(error)
        return error["message"], error["param"]

    def begins(self):
        return self.ask("POST", f"{self._path}/oauth/connect")["authorization_url"]

    def consents(self):
        """The parameters that the provider was asked with, and the page at the end."""
        browser = Browser()
        start = self.begins()
        asked = browser.open(start)[1]["location"]
        back = browser.consent(asked, self.callback)
        status, _, page = browser.open(back)
        return query(asked), status, page

    def is_connected(self):
        asked, status, page = self.consents()
        assert status == 200, page
        return asked

    def works(self):
        """A tool is called with the token, with the next one, and not after the end."""
        self.calls()
        time.sleep(TOKEN_SECONDS + 1)
        self.calls()
        refreshes = self.provider.seen("token", grant_type="refresh_token")
        assert refreshes and all(refresh["status"] == 200 for refresh in refreshes)
        assert self._proxy.operate("DELETE", f"{self._path}/oauth") == (204, None)
        assert self.ask("GET", self._path)["status_reason"] == "needs_authorization"

    def calls(self):
        asks = completion(calls=[call("call_1", f"{self.name}__add", {"a": 2, "b": 3})])
        self._model.answers(asks, completion("Five."))
        mcp = {"enabled": True, "servers": [self.name], "auto_execute_tools": True}
        status, answer = self._proxy.chat({"model": self._model.name, "messages": [], "mcp": mcp})
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "Five."), answer
        assert "2 and 3 make 5" in self._model.received[-1].json["messages"][-1]["content"]


@shape("google")
def test_google_is_named_with_a_slash_and_gives_refresh_tokens_to_who_asks(shaped):
    message, param = shaped.is_refused()
    assert param == "auth.client_id" and shaped.callback in message, message
    client = shaped.registers()
    # Discovered: the issuer that is entered has the slash that the metadata do not have.
    shaped.enters(**client, issuer=f"{shaped.issuer}/")
    shaped.is_connected()
    shaped.calls()
    shaped.enters(**client, issuer=shaped.issuer, **shaped.endpoints("?access_type=offline&prompt=consent"), scopes="tools")
    assert shaped.is_connected()["access_type"] == "offline"
    shaped.works()


@shape("entra")
def test_entra_does_not_speak_of_pkce_and_refuses_a_resource(shaped):
    client = shaped.registers()
    shaped.enters(**client, issuer=shaped.issuer)
    message, param = shaped.is_refused()
    assert param == "auth.authorization_url" and "PKCE" in message, message
    # Whoever enters a resource, as other providers want it, is told.
    typed = {**client, **shaped.endpoints(), "scopes": "tools"}
    shaped.enters(**typed, resource="api://tools")
    _, status, page = shaped.consents()
    assert (status, "AADSTS9010010" in page, "or to none" in page) == (400, True, True), page
    shaped.enters(**typed, resource="none")
    assert "resource" not in shaped.is_connected()
    shaped.works()


@shape("cognito")
def test_cognito_registers_nobody_and_does_not_speak_of_pkce(shaped):
    message, _ = shaped.is_refused()
    assert "PKCE" in message and "enter its authorization URL" in message, message
    shaped.enters(**shaped.registers(), **shaped.endpoints(), scopes="tools")
    shaped.is_connected()
    shaped.works()


@shape("keycloak")
def test_keycloaks_policy_is_told_and_a_client_by_hand_helps(shaped):
    message, param = shaped.is_refused()
    assert "Policy 'Trusted Hosts' rejected request" in message and "status 403" in message, message
    assert param == "auth.client_id" and shaped.callback in message
    shaped.enters(**shaped.registers(), issuer=shaped.issuer)
    shaped.is_connected()
    shaped.works()


@shape("okta")
def test_oktas_document_is_behind_the_issuers_path(shaped):
    shaped.enters(**shaped.registers(), issuer=shaped.issuer)
    shaped.is_connected()
    shaped.works()


@shape("auth0")
def test_auth0_has_a_slash_at_its_root_and_wants_to_know_what_a_token_is_for(shaped):
    asked = shaped.is_connected()
    assert asked["resource"].endswith("/mcp")
    shaped.works()
