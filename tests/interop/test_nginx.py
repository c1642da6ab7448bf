"""Proves that the guide's nginx with two proxies loses no request and runs no tool twice, also while they are restarted."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from browser import Browser
from conftest import free_port
from nginx import Nginx
from replicas import TOKEN, Replicas, ask
from test_readme import block

# Callers at the same time, and the pause of each between two requests: a load that two cores bear.
CALLERS, PAUSE = 6, 0.05


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    replicas = Replicas(tmp_path_factory.mktemp("replicas"))
    yield replicas
    replicas.close()


def test_a_stream_arrives_through_nginx_as_it_is_made(replicas):
    text, receipt = replicas.chat("stream", seconds=0.3, streamed=True)
    assert (text, receipt["rounds"], receipt["stopped_by"]) == ("stream is done", 1, "final")
    assert replicas.ran()["stream/0"] == 1


def test_what_an_operator_does_through_nginx_is_in_force_in_both(replicas):
    token = {"authorization": f"Bearer {TOKEN}"}
    server = {"name": "made", "url": "https://mcp.example.com/mcp"}
    status, made = ask(replicas.operators, "POST", "/api/v1/servers", server, token)
    assert status == 201, made
    time.sleep(1)
    for replica in replicas.replicas:
        status, listed = ask(replica.ports[0], "GET", "/v1/mcp/servers")
        assert {server["name"] for server in json.loads(listed)["servers"]} == {"counted", "made"}
    assert ask(replicas.operators, "DELETE", "/api/v1/servers/made", headers=token)[0] == 204


def test_a_server_is_connected_through_nginx_and_usable_in_both(replicas, protected_elsewhere):
    operate = partial(ask, replicas.operators, headers={"authorization": f"Bearer {TOKEN}"})
    server = {"name": "tracker", "url": protected_elsewhere.url, "auth": {"type": "oauth2"}}
    status, created = operate("POST", "/api/v1/servers", server)
    assert status == 201, created
    status, answer = operate("POST", "/api/v1/servers/tracker/oauth/connect")
    assert status == 200, answer
    public, browser = f"http://127.0.0.1:{replicas.operators}", Browser()
    # Each step comes to whichever replica nginx has in turn.
    back = browser.consent(json.loads(answer)["authorization_url"], f"{public}/oauth/callback")
    status, _, page = browser.open(back)
    assert status == 200, page
    time.sleep(1)
    for replica in replicas.replicas:
        _, listed = ask(replica.ports[0], "GET", "/v1/mcp/servers")
        [tracker] = [server for server in json.loads(listed)["servers"] if server["name"] == "tracker"]
        assert (tracker["status"], "tracker__add" in tracker["tools"]) == ("active", True), tracker
    assert operate("DELETE", "/api/v1/servers/tracker")[0] == 204


# The loop of 90 s holds up the stop of the replica that runs it.
@pytest.mark.timeout(300)
def test_a_rolling_restart_under_load_fails_no_request_and_runs_no_tool_twice(replicas):
    before, over = replicas.ran(), threading.Event()

    def caller(number):
        answered = 0
        while not over.is_set():
            id = f"load-{number}-{answered}"
            text, receipt = replicas.chat(id, seconds=0.1, streamed=answered % 2 == 1)
            assert text == f"{id} is done" and [c["is_error"] for c in receipt["calls"]] == [False]
            answered += 1
            time.sleep(PAUSE)
        return answered

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        started = time.monotonic()
        long = pool.submit(replicas.chat, "long", rounds=2, seconds=46)
        callers = [pool.submit(caller, number) for number in range(CALLERS)]
        try:
            for replica in replicas.replicas:
                time.sleep(2)
                assert replica.stop(200) == 0
                time.sleep(1)
                replica.start()
            time.sleep(2)
        finally:
            over.set()
        text, receipt = long.result()
        took = time.monotonic() - started
        answered = sum(caller.result() for caller in callers)
    assert text == "long is done" and receipt["rounds"] == 2 and took > 90
    ran = replicas.ran() - before
    assert set(ran.values()) == {1}, [id for id, times in ran.items() if times > 1]
    assert len(ran) == answered + 2
    tried = replicas.nginx.tried()
    print(f"\n{answered} requests in {took:.0f} s: 0 failed, 0 tools run twice", end=" ")
    # It was no idle restart: replicas have turned requests away, and were not there.
    assert any(": 421 : 200" in line for line in tried)
    assert any(": 502, 200" in line for line in tried)


def test_the_guides_nginx_for_one_proxy_works(replicas, tmp_path):
    port, proxy = free_port(), replicas.replicas[0].ports[0]
    written = block("nginx", "127.0.0.1:8787").replace("127.0.0.1:8787", f"127.0.0.1:{proxy}")
    nginx = Nginx("nginx-one", tmp_path, f"server {{ listen 127.0.0.1:{port}; {written} }}", port)
    try:
        assert ask(port, "GET", "/v1/mcp/servers")[0] == 200
    finally:
        nginx.stop()
