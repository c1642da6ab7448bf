"""A PostgreSQL of the suite's own, in a temporary folder."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from conftest import Part, free_port


def programs():
    """Where the newest version has its programs."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    assert found, "no initdb: install PostgreSQL 15 or newer (Debian: postgresql)"
    return Path(found).parent


class Postgres(Part):
    """The running server; `url` is that of an empty database."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="interop-postgres-")
        folder = Path(self._folder.name)
        bin, data, port = programs(), folder / "data", free_port()
        user = []
        if os.geteuid() == 0:
            # It refuses to run as root.
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres", "postgres")
        initdb = [*user, bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
        server = [*user, bin / "postgres", "-D", data, "-k", folder, "-p", str(port)]
        super().__init__("postgres", [*server, "-c", "listen_addresses=127.0.0.1"])
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        asks = [bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        self.ready(lambda: subprocess.run(asks).returncode == 0)

    def stop(self):
        super().stop()
        self._folder.cleanup()
