"""A real nginx with the guides' configuration: an ordinary process, with all its files in one folder."""

import os
import shutil
import subprocess

from conftest import Part

# The distributions put it where only root looks.
PROGRAM = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Part):
    """Serves `http`, what stands within nginx's own block of that name; ready when `port` listens."""

    def __init__(self, name, folder, http, port):
        assert PROGRAM, "no nginx: install it (Debian: nginx-light)"
        self.access = folder / "access.log"
        file = folder / "nginx.conf"
        file.write_text(
            "\n".join(
                [
                    "user root;" if os.geteuid() == 0 else "",
                    "daemon off;",
                    "worker_processes 2;",
                    f"pid {folder}/nginx.pid;",
                    "error_log stderr info;",
                    "events { }",
                    "http {",
                    *(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY),
                    "log_format tried '$status by $upstream_addr: $upstream_status';",
                    f"access_log {self.access} tried;",
                    http,
                    "}",
                ]
            )
        )
        command = [PROGRAM, "-e", "stderr", "-p", folder, "-c", file]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        super().__init__(name, command)
        self.ready(lambda: subprocess.run(["curl", "-sS", f"http://127.0.0.1:{port}/"], capture_output=True).returncode == 0)

    def tried(self):
        """For each request: its status, and which replicas were asked, with theirs."""
        return self.access.read_text().splitlines()
