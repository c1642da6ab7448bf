"""Proves that the operator's REST interface is what it says of itself: Schemathesis makes requests of the description."""

import subprocess
import sys

import pytest

from operated import TOKEN, Operated

# So long requests are made up; the rest of a run is a few seconds.
SECONDS = 45

# What a schema allows may still be refused, as a URL that may not be reached; and whoever tries one wrong token
# after the other gets a 429 at last.
UNCHECKED = "positive_data_acceptance,ignored_auth"


@pytest.fixture
def operated(upstream, everything_http):
    declared = f'[[servers]]\nname = "declared"\nurl = "{everything_http}"'
    proxy = Operated("described", upstream.url, declared)
    yield proxy
    proxy.stop()


@pytest.mark.timeout(3 * SECONDS)
def test_every_answer_to_made_up_requests_is_as_described(operated, tmp_path):
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{operated.public}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}"),
        *("--exclude-checks", UNCHECKED),
        *("--max-time", str(SECONDS), "--max-examples", "20", "--seed", "1"),
        *("--no-color", "--warnings", "off"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3 * SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    made = int(done.stdout.rpartition(" generated")[0].split()[-1])
    print(f"{made} requests were made up")
    assert made > 500, done.stdout
    log = operated.log.read_text()
    assert " ERROR " not in log and "panicked" not in log
