"""Published MCP servers as their users run them: how each is started, one call of it, and what that says.

Those that speak HTTP are started so; those of stdio stand behind supergateway or mcp-proxy. `EVERY_RUN` install fast and
are in each run of the suite; the others only with `run --all`, which sets INTEROP_SERVERS.
"""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from conftest import Part, free_port, node_module
from mcp_direct import Direct

OTHERS = Path(os.environ.get("INTEROP_SERVERS", "not-installed"))
FASTMCP = Path(__file__).with_name("fastmcp_server.py")
CHROMIUM = "/usr/bin/chromium"


@dataclass
class Published:
    """One server: `command` of a port and a folder of its own, the call to make, and a part of its answer."""

    name: str
    command: object
    tool: str
    arguments: dict
    says: str
    path: str = "/mcp"
    env: dict = field(default_factory=dict)
    is_error: bool = False


class Running:
    """A published server on one port, that can be started again there."""

    def __init__(self, row, folder):
        self.row, self.folder, self.port = row, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}{row.path}"
        self.transport = "sse" if row.path == "/sse" else "streamable_http"
        self.starts, self.late = 0, None
        self.start()

    def start(self):
        self.starts += 1
        command = self.row.command(self.port, self.folder)
        env = {"PORT": str(self.port), "HOME": str(self.folder), "TZ": "UTC"}
        env |= {name: value.format(port=self.port, folder=self.folder) for name, value in self.row.env.items()}
        self._part = Part(f"published-{self.row.name}-{self.starts}", command, env)

    def ready(self):
        self._part.ready(self.listed, 60)

    def listed(self):
        """The tools that it says it has, past the proxy."""
        session = Direct(self.url, seconds=20)
        try:
            return session.tools()
        finally:
            session.close()

    def stop(self):
        self._part.stop(1)

    def restart(self):
        self.stop()
        self.start()
        self.ready()


def supergateway(*options, program=None):
    """A stdio server behind supergateway: `program` of the folder."""

    def command(port, folder):
        stdio = shlex.join(map(str, program(folder)))
        return ["node", node_module("supergateway/dist/index.js"), "--stdio", stdio, "--port", port, *options]

    return command


def mcp_proxy(program):
    """A stdio server behind mcp-proxy, which has `/mcp` and `/sse` on one port."""
    return lambda port, folder: [
        OTHERS / "venv-sdk1/bin/mcp-proxy", "--port", port, "--pass-environment", "--", *program(folder)
    ]  # fmt: skip


def module(path, *arguments):
    """An npm package of every run: the words that start it."""
    return lambda folder: ["node", node_module(path), *(argument.format(folder=folder) for argument in arguments)]


def other(path, *arguments, node="node"):
    return lambda folder: [node, OTHERS / "node/node_modules" / path, *(a.format(folder=folder) for a in arguments)]


def python(name, *arguments, venv="venv"):
    return lambda folder: [OTHERS / venv / "bin" / name, *(a.format(folder=folder) for a in arguments)]


STATEFUL = ("--outputTransport", "streamableHttp", "--stateful")
STATELESS = ("--outputTransport", "streamableHttp")
EVERYTHING = "@modelcontextprotocol/server-everything/dist/index.js"


def fastmcp(form):
    command = lambda port, folder: [sys.executable, FASTMCP, port, form]  # noqa: E731
    path = "/sse" if form == "sse" else "/mcp"
    return Published(f"fastmcp-{form}", command, "add", {"a": 2, "b": 3}, "2 and 3 make 5", path)


EVERY_RUN = [
    Published(
        "everything",
        lambda port, folder: ["node", node_module(EVERYTHING), "streamableHttp"],
        "echo", {"message": "hello"}, "Echo: hello",
    ),
    Published(
        "memory",
        supergateway(*STATEFUL, program=module("@modelcontextprotocol/server-memory/dist/index.js")),
        "search_nodes", {"query": "tea"}, '"entities": []',
        env={"MEMORY_FILE_PATH": "{folder}/memory.jsonl"},
    ),
    Published(
        "filesystem",
        supergateway(program=module("@modelcontextprotocol/server-filesystem/dist/index.js", "{folder}")),
        "read_text_file", {"path": "{folder}/tea.txt"}, "two cups", "/sse",
    ),
    Published(
        "sequential-thinking",
        supergateway(*STATELESS, program=module("@modelcontextprotocol/server-sequential-thinking/dist/index.js")),
        "sequentialthinking",
        {"thought": "tea first", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1},
        "thoughtHistoryLength",
    ),
    Published(
        "playwright",
        lambda port, folder: [
            *module("@playwright/mcp/cli.js", "--headless", "--isolated", "--no-sandbox")(folder),
            "--executable-path", CHROMIUM, "--output-dir", folder, "--host", "127.0.0.1", "--port", port, "--allowed-hosts", "*",
        ],
        "browser_navigate", {"url": "about:blank"}, "about:blank",
    ),
    *map(fastmcp, ("http", "sse")),
]
ON_REQUEST = [
    *map(fastmcp, ("stateless", "json")),
    Published(
        "everything-sse",
        lambda port, folder: ["node", node_module(EVERYTHING), "sse"],
        "get-sum", {"a": 2, "b": 3}, "The sum of 2 and 3 is 5.", "/sse",
    ),
    Published(
        "git", supergateway(*STATEFUL, program=python("mcp-server-git")),
        "git_status", {"repo_path": "{folder}/repo"}, "nothing to commit",
    ),
    Published(
        "time", mcp_proxy(python("mcp-server-time", "--local-timezone", "UTC")),
        "convert_time", {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "T21:00:00",
    ),
    Published(
        "fetch", mcp_proxy(python("mcp-server-fetch", "--ignore-robots-txt")),
        "fetch", {"url": "http://127.0.0.1:9/tea"}, "http://127.0.0.1:9/tea", "/sse", is_error=True,
    ),
    Published(
        "sqlite", supergateway(program=python("mcp-server-sqlite", "--db-path", "{folder}/x.db", venv="venv-sdk1")),
        "read_query", {"query": "select 6 * 7 as answer"}, "42", "/sse",
    ),
    Published(
        "excel", lambda port, folder: [
            *python("excel-mcp-server", "streamable-http", "--host", "127.0.0.1")(folder), "--port", port,
        ],
        "create_workbook", {"path": "tea.xlsx", "overwrite": True}, "tea.xlsx",
        env={"EXCEL_FILES_PATH": "{folder}"},
    ),
    Published(
        "chrome-devtools",
        supergateway(*STATEFUL, program=other(
            "chrome-devtools-mcp/build/src/bin/chrome-devtools-mcp.js",
            "--headless", "--isolated", "--executablePath", CHROMIUM, "--chromeArg=--no-sandbox",
        )),
        "list_pages", {}, "about:blank",
    ),
    Published(
        "mongodb", lambda port, folder: other("mongodb-mcp-server/dist/esm/index.js")(folder),
        "connect", {"connectionString": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=500"}, "connect",
        env={"MDB_MCP_TELEMETRY": "disabled", "MDB_MCP_TRANSPORT": "http", "MDB_MCP_HTTP_PORT": "{port}"},
        is_error=True,
    ),
    Published(
        "dbhub", lambda port, folder: [
            *other("@bytebase/dbhub/dist/index.js", node=OTHERS / "node/node_modules/.bin/node")(folder),
            "--transport", "http", "--host", "127.0.0.1", "--port", port, "--dsn", "sqlite:///:memory:",
        ],
        "execute_sql", {"sql": "select 6 * 7 as answer"}, "42",
    ),
    Published(
        "kubernetes", lambda port, folder: [
            OTHERS / "node/node_modules/kubernetes-mcp-server-linux-amd64/bin/kubernetes-mcp-server-linux-amd64",
            "--kubeconfig", folder / "kubeconfig", "--bind-address", "127.0.0.1", "--port", port,
        ],
        "configuration_view", {}, "current-context: nowhere",
    ),
    Published(
        "notion", supergateway(*STATELESS, program=other("@notionhq/notion-mcp-server/bin/cli.mjs")),
        "API-get-self", {}, "", env={"NOTION_TOKEN": "made-up"}, is_error=True,
    ),
]  # fmt: skip
ROWS = EVERY_RUN + (ON_REQUEST if OTHERS.is_dir() else [])


def furnish(folder):
    """What the servers of one folder work on."""
    (folder / "tea.txt").write_text("two cups")
    nowhere = {"cluster": "nowhere", "user": "nobody"}
    (folder / "kubeconfig").write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{"name": "nowhere", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "nowhere", "context": nowhere}],
    }))  # fmt: skip
    subprocess.run(["git", "init", "--quiet", folder / "repo"], check=True)


def started(folder, rows=None):
    """All rows, or these, started together, by name. One that is late fails its own test only."""
    servers = {}
    try:
        for row in rows or ROWS:
            (own := folder / row.name).mkdir()
            furnish(own)
            servers[row.name] = Running(row, own)
        for server in servers.values():
            try:
                server.ready()
            except AssertionError as fault:
                server.late = fault
        yield servers
    finally:
        for server in servers.values():
            server.stop()
