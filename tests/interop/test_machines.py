"""Proves with a real authorization server, and a resource server that checks its tokens, that machines authorize
themselves, and that people's tokens are exchanged."""

import base64
import json
import time

import pytest
from conftest import Proxy, config
from oauth_parts import TOKEN_SECONDS
from upstream import call, completion

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TWO_AND_THREE = {"a": 2, "b": 3}


@pytest.fixture(scope="module")
def proxy(protected, model_server, tmp_path_factory):
    """The proxy with the protected server three times: authorized by a secret, by a key, and by each person."""
    folder = tmp_path_factory.mktemp("machines")
    files = {}
    for name, text in protected.provider.machines().items():
        files[name] = folder / name
        files[name].touch(mode=0o600)
        files[name].write_text(text)

    def server(name, grant, client, proof, *rest):
        members = ['type = "oauth2"', f'grant = "{grant}"', f'client_id = "{client}"', *rest]
        members += [f'issuer = "{protected.provider.issuer}"', 'scopes = "tools"', proof]
        return "\n".join(["", "[[servers]]", f'name = "{name}"', f'url = "{protected.url}"', "[servers.auth]", *members])

    secret, key = (f'client_secret_file = "{files["secret"]}"', f'private_key_file = "{files["key"]}"')
    text = config(model_server.url, {}) + 'subject_token_header = "x-subject-token"\n'
    text += server("by-secret", "client_credentials", "machine-secret", secret)
    text += server("by-key", "client_credentials", "machine-key", key, 'key_id = "machine-key"')
    text += server("by-person", "token_exchange", "machine-key", key, 'subject_audience = "gateway"')
    with Proxy("machines", text + "\n") as proxy:
        yield proxy


def ask(proxy, model, server, headers=()):
    body = {
        "model": model.name,
        "messages": [{"role": "user", "content": "How much is two and three?"}],
        "mcp": {"enabled": True, "servers": [server], "auto_execute_tools": True},
    }
    return proxy.chat(body, headers)


def answer(proxy, model, server, headers=()):
    """What the tool said to the model."""
    model.answers(completion(calls=[call("call_1", f"{server}__add", TWO_AND_THREE)]), completion("5"))
    before = len(model.received)
    status, said = ask(proxy, model, server, headers)
    assert status == 200, said
    assert [c["is_error"] for c in said["mcp"]["calls"]] == [False]
    return str(model.received[before + 1])


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("server, client", [("by-secret", "machine-secret"), ("by-key", "machine-key")])
def test_a_machine_needs_nobody_and_gets_a_new_token_when_one_ends(proxy, model, protected, server, client):
    assert "2 and 3 make 5" in answer(proxy, model, server)
    time.sleep(TOKEN_SECONDS + 1)
    assert "2 and 3 make 5" in answer(proxy, model, server)
    asked = protected.provider.seen("token", grant_type="client_credentials")
    asked = [e for e in asked if e["client"]["client_id"] == client]
    assert len(asked) >= 2 and {e["status"] for e in asked} == {200}
    assert {e["params"]["resource"] for e in asked} == {protected.url}
    if client == "machine-key":
        assertions = [claims(e["params"]["client_assertion"]) for e in asked]
        assert {a["aud"] for a in assertions} == {protected.provider.issuer}
        assert len({a["jti"] for a in assertions}) == len(assertions)
    assert not protected.provider.seen("authorization", client_id=client)


def test_a_persons_token_is_exchanged_and_never_sent_on(proxy, model, protected):
    ann, ben = protected.provider.person("ann"), protected.provider.person("ben")
    for token in (ann, ben, ann):
        assert "2 and 3 make 5" in answer(proxy, model, "by-person", {"x-subject-token": token})
    asked = protected.provider.seen("token", grant_type=EXCHANGE)
    subjects = [claims(e["answer"]["access_token"])["sub"] for e in asked]
    assert set(subjects) == {"ann", "ben"}
    assert {claims(e["answer"]["access_token"])["aud"] for e in asked} == {protected.url}
    assert ann not in str(model.received)


def test_a_token_for_somebody_else_is_refused_before_anything_is_asked(proxy, model, protected):
    before = len(protected.provider.seen("token", grant_type=EXCHANGE))
    for headers in ({}, {"x-subject-token": protected.provider.person("ann", aud="tracker")}, {"x-subject-token": "a.b.c"}):
        status, said = ask(proxy, model, "by-person", headers)
        assert (status, said["error"]["code"]) == (401, "mcp_credential_required")
    assert len(protected.provider.seen("token", grant_type=EXCHANGE)) == before
    assert model.received == []


def test_a_forged_token_is_not_exchanged(proxy, model, protected):
    head, _, signature = protected.provider.person("ann").split(".")
    person = claims(protected.provider.person("ann")) | {"sub": "root"}
    forged = base64.urlsafe_b64encode(json.dumps(person).encode()).decode().rstrip("=")
    status, said = ask(proxy, model, "by-person", {"x-subject-token": f"{head}.{forged}.{signature}"})
    assert (status, said["error"]["code"]) == (401, "mcp_credential_required")
    assert "invalid_request" in said["error"]["message"]
    assert protected.provider.seen("token", grant_type=EXCHANGE)[-1]["status"] == 400
    assert model.received == []
