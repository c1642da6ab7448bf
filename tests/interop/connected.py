"""`examples/oauth_connect`, run as an operator runs it: a browser gives the consent, lines call the tools."""

import json
import os
import queue
import subprocess
import threading

from browser import Browser, query
from conftest import EXAMPLES


class Connected:
    """One run of the example, connected to `url`, with its `tools` by name."""

    def __init__(self, url, flags=(), env=None):
        command = [EXAMPLES / "oauth_connect", url, "--allow-egress", "localhost", "--allow-egress", "127.0.0.0/8"]
        self._process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.tools, self.said, self._complaints = {}, [], ""

    def open(self):
        """The parameters of the address that it wants to be opened in a browser."""
        assert self.line() == "Open this address in a browser:", self.stderr()
        self.address = self.line().strip()
        return query(self.address)

    def consent(self):
        """Follows the address in a browser, up to our own page; whether that connected it."""
        asked, browser = self.open(), Browser()
        self.callback = browser.consent(self.address, asked["redirect_uri"])
        assert browser.open(self.callback)[0] == 200
        return self.line() == "Connected."

    def connect(self):
        assert self.consent(), self.stderr()

    def call(self, tool, arguments=None):
        """What a call says: `result` or `error`, and the text."""
        self._process.stdin.write(f"{tool} {json.dumps(arguments or {})}\n")
        self._process.stdin.flush()
        while (line := self.line()) is not None and line.startswith("- "):
            name, _, description = line.removeprefix("- ").partition(": ")
            self.tools[name] = description
        assert line is not None, self.stderr()
        outcome, _, text = line.partition(": ")
        return outcome, json.loads(text)

    def line(self, seconds=20):
        """The next line, none at the end."""
        line = self._lines.get(timeout=seconds)
        if line is None:
            # It stays the end.
            self._lines.put(None)
        else:
            self.said.append(line)
        return line

    def end(self):
        """The last line and the exit code, after the end of the input."""
        self._process.stdin.close()
        while self.line() is not None:
            pass
        return self.said[-1] if self.said else None, self._process.wait(10)

    def stderr(self):
        """What it complained about; waits for its end."""
        self._process.wait(10)
        self._complaints += self._process.stderr.read()
        return self._complaints

    def close(self):
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stderr):
            pipe.close()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)
