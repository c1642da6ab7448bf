"""The smallest OAuth client that can connect to an MCP server: to know what the parts do, past our own client."""

import base64
import hashlib
import json
import re
import secrets
import urllib.error
import urllib.request
from urllib.parse import urlencode

from browser import Browser, query

CALLBACK = "http://127.0.0.1:1/callback"


class OAuthDirect:
    """A client that has registered itself where the MCP server at `url` says."""

    def __init__(self, url):
        challenge = send(url, {}).headers["www-authenticate"]
        [metadata] = re.findall(r'resource_metadata="([^"]+)"', challenge)
        protected = send(metadata).json()
        [self.issuer], self.resource = protected["authorization_servers"], protected["resource"]
        self.server = send(f"{self.issuer.rstrip('/')}/.well-known/oauth-authorization-server").json()
        assert self.server["issuer"] == self.issuer
        self.scope = " ".join(protected["scopes_supported"])
        self.client = self.register().json()

    def register(self):
        metadata = {
            "redirect_uris": [CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        }
        return send(self.server["registration_endpoint"], metadata)

    def connect(self):
        """The token endpoint's answer after a person's consent."""
        verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        request = {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "redirect_uri": CALLBACK,
            "scope": self.scope,
            "resource": self.resource,
            "state": state,
            "code_challenge": digest,
            "code_challenge_method": "S256",
        }
        asked = f"{self.server['authorization_endpoint']}?{urlencode(request)}"
        answer = query(Browser().consent(asked, CALLBACK))
        assert answer["state"] == state, answer
        return self.token(
            grant_type="authorization_code", code=answer["code"], code_verifier=verifier, redirect_uri=CALLBACK
        )

    def refresh(self, refresh_token):
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def token(self, **params):
        params = {"client_id": self.client["client_id"], "resource": self.resource, **params}
        return send(self.server["token_endpoint"], urlencode(params)).json()

    def revoke(self, token):
        params = {"client_id": self.client["client_id"], "token": token}
        return send(self.server["revocation_endpoint"], urlencode(params)).status


class Answer:
    def __init__(self, response):
        with response:
            self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body)


def send(url, body=None, headers=()):
    """GET; with a body POST: a string is a form, anything else JSON."""
    form = isinstance(body, str)
    data = None if body is None else (body if form else json.dumps(body)).encode()
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    accept = "application/json, text/event-stream"
    request = urllib.request.Request(url, data, {"content-type": kind, "accept": accept, **dict(headers)})
    try:
        return Answer(urllib.request.urlopen(request, timeout=10))
    except urllib.error.HTTPError as error:
        return Answer(error)
