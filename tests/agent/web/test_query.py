"""URLs, headers, and where redirects lead."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.guard import Refused
from agent.web.query import Query, check_url, read_headers, redirected

HERE = httpx.URL("https://a.test/dir/page")
SECRET = {"Authorization": "Bearer x", "X-Api-Key": "y", "Cookie": "z", "Accept": "text/html"}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ftp://a.test/",
            "file:///etc/passwd",
            "gopher://a.test",
            "javascript:alert(1)",
            "//a.test",
        ),
        *("a.test", "", "http://", "http:///path", "https://user:pass@a.test/", "http://u@a.test"),
        *(
            "http://[::1",
            "http://a.test:99999/",
            "http://a.test:x/",
            "http://a b/",
            "http://\udc80/",
        ),
        *("http://a.test/" + "x" * 9000, "http://a\x00.test/"),
    ],
)
def test_a_url_that_is_not_plain_http_is_refused(text: str) -> None:
    """With a sentence, and never with another error."""
    with pytest.raises(Refused):
        check_url(text)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://", "http://[", "http://a@"]))
def test_any_text_is_a_url_or_is_refused(text: str, start: str) -> None:
    """What a model writes, and what a server puts into a Location."""
    try:
        url = check_url(start + text)
    except Refused:
        return
    assert url.scheme in {"http", "https"}
    assert url.host
    assert not url.userinfo


def test_a_fragment_stays_at_home() -> None:
    """It is for the reader, not for the server."""
    assert str(check_url("https://a.test/x?y#z")) == "https://a.test/x?y"


def test_headers_are_read_line_by_line() -> None:
    """Values may hold colons."""
    assert read_headers("Accept: a/b\n\nX-A: b:c\n") == {"Accept": "a/b", "X-A": "b:c"}


@pytest.mark.parametrize(
    "line",
    [
        *("no colon", ": value", "na me: x", "n\xe4me: x", "name: \xe9", "name: a\x00b"),
        *("Host: b.test", "content-length: 3", "Transfer-Encoding: chunked", "connection: x"),
        *("Accept-Encoding: br", "proxy-authorization: x", "Expect: 100-continue"),
    ],
)
def test_a_header_that_would_break_or_bend_the_request_is_refused(line: str) -> None:
    """It is refused and not dropped, so that nobody believes it was sent."""
    with pytest.raises(Refused):
        read_headers(line)


def test_a_redirect_within_a_server_keeps_everything() -> None:
    """Credentials are that server's, and 307 means what it says."""
    query = Query("PUT", str(HERE), SECRET, b"body")
    moved = redirected(query, HERE, "../other", 307)
    assert moved == Query("PUT", "https://a.test/other", SECRET, b"body")


@pytest.mark.parametrize(
    "location", ["https://b.test/", "http://a.test/", "https://a.test:444/", "//b.test/"]
)
def test_a_redirect_to_another_origin_takes_no_credentials_along(location: str) -> None:
    """Another host, another port, and the same host without TLS; unknown headers stay, too."""
    moved = redirected(Query("GET", str(HERE), SECRET), HERE, location, 302)
    assert moved.headers == {"Accept": "text/html"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_what_changes_something_is_not_sent_on_to_another_server(method: str, status: int) -> None:
    """Whoever allowed it allowed it for one server."""
    with pytest.raises(Refused, match=r"b\.test"):
        redirected(Query(method, str(HERE), {}, b"body"), HERE, "https://b.test/", status)


def test_a_disguised_method_is_not_sent_on_either() -> None:
    """A GET may be another method to some servers."""
    query = Query("GET", str(HERE), {"X-HTTP-Method-Override": "DELETE"})
    assert not query.only_asks
    with pytest.raises(Refused):
        redirected(query, HERE, "https://b.test/", 302)


@pytest.mark.parametrize(
    ("method", "status", "becomes"),
    [
        *(("POST", status, "GET") for status in (301, 302, 303)),
        *(("POST", status, "POST") for status in (307, 308)),
        *(("PUT", 303, "GET"), ("PUT", 302, "PUT"), ("HEAD", 303, "HEAD"), ("GET", 301, "GET")),
    ],
)
def test_methods_change_at_redirects_as_browsers_have_it(
    method: str, status: int, becomes: str
) -> None:
    """And where the method changes, body and its headers go."""
    query = Query(method, str(HERE), {"Content-Type": "a/b", "X": "y"}, b"body")
    moved = redirected(query, HERE, "/next", status)
    assert moved.method == becomes
    kept = becomes == method
    assert moved.body == (b"body" if kept else None)
    assert moved.headers == ({"Content-Type": "a/b", "X": "y"} if kept else {"X": "y"})


@pytest.mark.parametrize("location", ["ftp://a.test/", "https://u:p@a.test/", "http://"])
def test_a_redirect_to_no_plain_url_is_refused(location: str) -> None:
    """It says that it was the page that led there."""
    with pytest.raises(Refused, match="the page leads"):
        redirected(Query("GET", str(HERE)), HERE, location, 302)
