"""Proves what an operator does with callers' API keys in the dashboard, and what callers then can and cannot do."""

import pytest

from dashboard_parts import Dashboard

# Several browsers each, which take their time where others build beside them.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def desk(model_server, tmp_path_factory):
    """A proxy before an upstream that needs no key, with a key of the file."""
    declared = """
    upstream_key_env = ""
    [[api_keys]]
    name = "of-file"
    key_sha256 = "9d8db2a67d146638c07fbb5652ad998062e2e2fa857eef026c40c444b07e3872"
    project = "batch"
    """
    desk = Dashboard("keys", model_server.url, tmp_path_factory.mktemp("keys"), declared)
    yield desk
    desk.stop()


def status(desk, key):
    """The status of a request with this key."""
    headers = {"authorization": f"Bearer {key}"}
    return desk.ask(desk.port, "GET", "/v1/mcp/servers", headers=headers)[0]


def made(desk, name, project="web"):
    code, key = desk.rest("/api-keys", {"name": name, "project": project})
    assert code == 201, key
    return key


@pytest.mark.parametrize("script_is", ["on", "off"])
def test_a_key_is_made_used_and_revoked(visit, desk, script_is):
    off, name = script_is == "off", f"ci-{script_is}"
    key = visit("keys.makes", desk, noScript=off, name=name, project="web", expires="in 30 days")
    assert status(desk, key) == 200
    assert status(desk, key[:-1]) == 401
    visit("keys.revokes", desk, noScript=off, name=name)
    assert status(desk, key) == 401


def test_the_key_and_a_command_with_it_are_copied(visit, desk):
    visit("keys.copies", desk, name="copied", project="web")


def test_a_key_lasts_to_the_end_of_a_date(visit, desk):
    visit("keys.dates", desk, name="dated", project="web")
    keys = desk.rest("/api-keys")[1]["api_keys"]
    assert [key["expires_at"] for key in keys if key["name"] == "dated"] == ["2100-01-01T00:00:00.000Z"]


def test_a_key_of_the_file_works_beside_those_that_were_made(desk):
    assert status(desk, "batch-key") == 200
    assert status(desk, made(desk, "beside")["key"]) == 200


@pytest.mark.timeout(240)
def test_every_page_looks_right_to_everybody(visit, desk):
    made(desk, "a-name-that-is-as-long-as-it-may-be-" + "x" * 64, "a-project-with-a-name-of-some-length")
    made(desk, "looked-at")
    found = visit("keys.looks", desk, seconds=230, name="looked-at")
    assert not found, "\n".join(found)
