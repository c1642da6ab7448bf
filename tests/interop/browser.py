"""A browser with a person in front of it who follows every link: cookies, redirects, and the callback at the end."""

import http.cookiejar
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urljoin, urlsplit


class Browser:
    def __init__(self):
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            _Redirects,
        )

    def consent(self, url, callback):
        """Opens `url` and goes on to where it is sent, until that is the callback, which it does not open."""
        for _ in range(10):
            status, headers, body = self.open(url)
            assert 300 <= status < 400, f"{urlsplit(url).path}: HTTP {status}: {body[:500]}"
            url = urljoin(url, headers["location"])
            if url.startswith(callback):
                return url
        raise AssertionError(f"no callback after ten redirects, but {url}")

    def open(self, url):
        """Status, headers and text of a page, redirect or not."""
        try:
            response = self._opener.open(url, timeout=10)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return response.status, response.headers, response.read().decode()


def query(url):
    """The parameters of a URL; none may be given twice."""
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values()), url
    return {name: values[0] for name, values in found.items()}


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
