"""Two proxies on one PostgreSQL, which take the requests that come to one address in turns."""

import subprocess

from conftest import PROXY, Proxy, config, free_port
from nginx import Nginx
from postgres import Postgres

HTTP = """
upstream replicas {{
    zone replicas 64k;
    server 127.0.0.1:{a};
    server 127.0.0.1:{b};
}}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://replicas;
        proxy_set_header Host $http_host;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_next_upstream off;
    }}
}}
"""


class Alternating:
    """No request goes where the one before it went. `url` is where callers come."""

    def __init__(self, folder, upstream, servers):
        self._parts = []
        try:
            self._start(folder, upstream, servers)
        except BaseException:
            self._stop()
            raise

    def _start(self, folder, upstream, servers):
        postgres = self._part(Postgres())
        subprocess.run([PROXY, "--generate-key", folder / "keys"], check=True, capture_output=True)
        keeping = f'database = "{postgres.url}"\nkey_file = "{folder}/keys"\n' + config(upstream, servers)
        a, b = (self._part(Proxy(f"proxy-agents-{name}", keeping)).port for name in "ab")
        port = free_port()
        self._nginx = self._part(Nginx("nginx-agents", folder, HTTP.format(a=a, b=b, port=port), port))
        self._ports, self.url = (a, b), f"http://127.0.0.1:{port}/v1"

    def _part(self, part):
        self._parts.append(part)
        return part

    def taken(self):
        """How many requests each of the two has had."""
        return [sum(f"by 127.0.0.1:{port}:" in line for line in self._nginx.tried()) for port in self._ports]

    def given_up(self):
        """How many requests had callers that did not wait for an answer."""
        return sum(line.startswith("499 ") for line in self._nginx.tried())

    def close(self):
        self._stop()
        a, b = self.taken()
        assert abs(a - b) <= 1, f"one had {a} requests, the other {b}"

    def _stop(self):
        for part in reversed(self._parts):
            part.stop()
