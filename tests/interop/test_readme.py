"""Proves that what the README and the guides tell people to paste works: commands, configuration, programs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from connected import Connected
from conftest import LOGS, NODE, PROXY, Part, Proxy, config, free_port
from postgres import Postgres
from upstream import call, completion

ROOT = Path(__file__).parents[2]
# What the page of clients has is tried in test_clients.py.
GUIDES = [file for file in sorted((ROOT / "src" / "guide").glob("*.md")) if file.name != "clients.md"]
DOCUMENTS = [file.read_text() for file in [ROOT / "README.md", *GUIDES]]


def block(language, containing):
    """The only code block in this language, of the README and all guides, that contains this text."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    [found] = [block for document in DOCUMENTS for block in fence.findall(document) if containing in block]
    return found


@pytest.fixture(scope="module")
def demo():
    """The address of `cargo run --example proxy`."""
    address = f"127.0.0.1:{free_port()}"
    part = Part("demo", [PROXY, "--listen", address, "--admin-listen", f"127.0.0.1:{free_port()}"])
    part.ready(lambda: "curl" in part.log.read_text())
    yield address
    part.stop()


def run(command, stdin=None, **options):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demos_curl_gives_an_answer_and_a_receipt(demo):
    answer = json.loads(run(["sh", "-e"], block("sh", "curl -sS").replace("127.0.0.1:8787", demo)))
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["mcp"]["rounds"] >= 1
    assert {call["tool"] for call in answer["mcp"]["calls"]} == {"roll_dice", "current_time"}


def test_the_curl_that_the_demo_prints_works_as_well(demo):
    printed = (LOGS / "demo.log").read_text()
    command = re.search(r"^curl.*?'$", printed, re.DOTALL | re.MULTILINE)[0]
    assert json.loads(run(["sh", "-e"], command))["mcp"]["rounds"] >= 1


def test_the_python_program_works(demo):
    program = block("python", "print(").replace("127.0.0.1:8787", demo)
    assert "1 ['roll_dice']" in run([sys.executable, "-"], program)


def test_the_typescript_program_works(demo, tmp_path):
    program = block("ts", "OpenAI").replace("127.0.0.1:8787", demo)
    # Node runs it without its types.
    file = NODE / "readme.mjs"
    file.write_text(re.sub(r": any| as any", "", program))
    assert run(["node", file]).strip().endswith(" 1")


def test_the_operators_commands_work_with_the_demo(demo):
    side, token = re.search(r"Open (http://\S+) and sign in with the token (\w+)", (LOGS / "demo.log").read_text()).groups()
    commands = block("bash", "admin()").replace("http://127.0.0.1:8788 ADMIN_TOKEN=…", f"{side} ADMIN_TOKEN={token}")
    printed = run(["bash", "-e"], commands)
    assert '"offered_name":"demo__roll_dice"' in printed
    assert printed.count('"name":"tracker"') == 3 and '"version":2' in printed
    assert '"enabled":false' in printed and "s3cret" not in printed
    assert '"name":"gpt-5-demo"' in printed and printed.count('"offered_name":"demo__roll_dice"') == 3


@pytest.fixture(scope="module")
def own_proxy(model_server, everything_http):
    proxy = Proxy("readme", config(model_server.url, {"demo": (everything_http, None)}))
    yield proxy
    proxy.stop()


def test_the_command_that_connects_a_server_works(protected):
    *command, url = block("sh", "oauth_connect").split()
    assert command == "cargo run --example oauth_connect --".split() and url.startswith("https://")
    connected = Connected(protected.url)
    try:
        connected.connect()
        assert connected.call("add", {"a": 2, "b": 3})[0] == "result"
        assert connected.end() == ("Disconnected.", 0)
    finally:
        connected.close()


def test_the_usual_loop_runs_own_tools_and_every_tool_once(own_proxy, model):
    ours, own = call("call_1", "demo__echo", {"message": "hello"}), call("call_2", "own_clock", {})
    model.answers(completion(calls=[ours]), completion(calls=[own, ours | {"id": "call_3"}]), completion("done"))
    program = {}
    exec(block("python", "def chat"), program)
    with openai.OpenAI(base_url=own_proxy.url, api_key="none") as client:
        answer = program["chat"](
            client,
            lambda call: "noon",
            model=model.name,
            messages=[{"role": "user", "content": "hi"}],
            tools=[{"type": "function", "function": {"name": "own_clock", "parameters": {"type": "object"}}}],
        )
    assert answer.choices[0].message.content == "done"
    told = [m["content"] for m in model.received[2].json["messages"] if m["role"] == "tool"]
    assert told == ["Echo: hello", "noon", "Echo: hello"]


def test_the_configuration_starts(tmp_path):
    port = free_port()
    file = tmp_path / "proxy.toml"
    text = block("toml", "upstream_key_env").replace(":8787", f":{port}")
    for name in ("proxy.db", "proxy.keys"):
        assert name in text
        text = text.replace(name, str(tmp_path / name))
    file.write_text(text)
    assert "proxy --generate-key proxy.keys" in block("sh", "cargo install")
    run([PROXY, "--generate-key", tmp_path / "proxy.keys"])
    env = {name: "secret" for name in ("OPENAI_API_KEY", "WEB_KEY", "DEEPWIKI_AUTH")}
    env["ADMIN_TOKEN"] = "a-secret-of-length"
    part = Part("readme-config", [PROXY, "--config", file, "--admin-listen", f"127.0.0.1:{free_port()}"], env)
    try:
        part.ready(lambda: run(["curl", "-sSf", f"http://127.0.0.1:{port}/healthz"]) or True)
    finally:
        part.stop()


@pytest.fixture
def postgres():
    part = Postgres()
    yield part
    part.stop()


def test_the_two_proxies_on_one_postgresql_work(postgres, everything_http, tmp_path):
    commands = block("bash", "two.toml")
    ports = {port: str(free_port()) for port in ("8001", "8002", "8801", "8802")}
    replaced = {
        "postgres://proxy:…@db.example/proxy": postgres.url,
        "https://mcp.deepwiki.com/mcp": everything_http,
        **{f"127.0.0.1:{port}": f"127.0.0.1:{free}" for port, free in ports.items()},
    }
    for written, meant in replaced.items():
        assert written in commands
        commands = commands.replace(written, meant)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "proxy").symlink_to(PROXY)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    # Whatever fails, no proxy stays behind; and only what `curl` says comes to us.
    script = tmp_path / "commands"
    script.write_text("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + commands)
    log = LOGS / "readme-two.log"
    with log.open("wb") as out:
        done = subprocess.run(["bash", script], stdout=out, stderr=subprocess.STDOUT, timeout=60, env=env, cwd=tmp_path)
    printed = log.read_text()
    assert done.returncode == 0, printed
    # Created, listed by the other one, and read from it after the first was killed.
    assert printed.count('"name":"deepwiki-mcp"') == 3, printed
    assert "deepwiki-mcp__echo" in printed, printed
