"""Requests against a server that wishes us ill."""

from __future__ import annotations

import gzip
import re
import ssl
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import trio

from agent.web.connect import Tls, resolve
from agent.web.fetch import AT_ONCE, Caps, Web
from agent.web.guard import Guard, Refused
from agent.web.query import Query
from tests.agent.web.rig import HERE, Names, Site, browsing, reply, serving

NO_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"


async def refused(web: Web, url: str, **more: object) -> str:
    """Why a request is refused."""
    with pytest.raises(Refused) as caught:
        await web.fetch(Query("GET", url))
    return str(caught.value)


# --- What works ---


async def test_a_page_is_fetched() -> None:
    """By a name that resolves to the server, which is told the name."""
    answer = reply(b"hello", content_type="text/plain; charset=UTF-8")
    async with serving(answer) as site, browsing({"site.test": [HERE]}) as web:
        page = await web.fetch(Query("GET", f"http://site.test:{site.port}/a?b=c#d", {"X-A": "b"}))

    assert (page.status, page.body, page.kind, page.charset) == (
        200,
        b"hello",
        "text/plain",
        "UTF-8",
    )
    (request,) = site.requests
    assert request.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: site.test:{site.port}".encode() in request.lower()
    assert b"x-a: b" in request.lower()


async def test_a_body_is_sent() -> None:
    """With its length."""
    async with serving(reply()) as site, browsing() as web:
        await web.fetch(Query("POST", f"http://{HERE}:{site.port}/", {}, b"body"))
    assert site.requests[0].endswith(b"\r\n\r\nbody")


async def test_a_head_has_no_body_whatever_length_it_tells() -> None:
    """The length is what a GET would bring."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"
    async with serving(answer) as site, browsing() as web:
        page = await web.fetch(Query("HEAD", f"http://{HERE}:{site.port}/"))
    assert page.headers["content-length"] == "99999999"
    assert page.body == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_packed_page_is_unpacked(encoding: str) -> None:
    """In the two ways that were asked for."""
    packed = gzip.compress(b"hello") if encoding == "gzip" else zlib.compress(b"hello")
    async with serving(reply(packed, content_encoding=encoding)) as site, browsing() as web:
        page = await web.fetch(Query("GET", f"http://{HERE}:{site.port}/"))
    assert page.body == b"hello"
    assert b"accept-encoding: gzip, deflate\r\n" in site.requests[0].lower()


async def test_nothing_of_one_request_is_told_in_the_next() -> None:
    """No cookie is kept, no connection used twice."""
    async with serving(reply(set_cookie="a=b; Path=/")) as site, browsing() as web:
        for _ in range(2):
            await web.fetch(Query("GET", f"http://{HERE}:{site.port}/"))
    assert len(site.requests) == 2
    assert b"cookie" not in site.requests[1].lower()


# --- Where it may not go ---


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "127.1"),
        *("0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.0.0.1.", "[::ffff:7f00:1]"),
        *("10.0.0.1", "169.254.169.254", "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
        *("\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021"),
    ],
)
async def test_by_default_no_spelling_leads_to_this_machine(host: str) -> None:
    """With the guard and the resolver that the daemon uses; nothing is connected to."""
    async with serving(reply(b"secret")) as site:
        web = Web(caps=Caps(seconds=10))
        with pytest.raises(Refused):
            await web.fetch(Query("GET", f"http://{host}:{site.port}/"))
        await web.aclose()
    assert site.requests == []


async def test_the_systems_resolver_gives_addresses() -> None:
    """Numeric ones, whatever is asked for."""
    assert HERE in await resolve("localhost", 80)
    assert await resolve("2130706433", 80) == [HERE]
    with pytest.raises(Refused, match="cannot be resolved"):
        await resolve("x" * 70 + ".test", 80)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("http://127.0.0.2:{port}/", "127.0.0.2 is this machine itself"),
        ("http://[::ffff:10.0.0.1]/", "::ffff:a00:1|::ffff:10.0.0.1"),
        ("//metadata.test/", "metadata.test is at 169.254.169.254, which is a link-local"),
        ("https://[::1]:{port}/", "this machine itself"),
    ],
)
async def test_a_redirect_to_where_nobody_may_go_is_refused(target: str, found: str) -> None:
    """Each hop is judged like the first."""

    async def answer(_: trio.abc.Stream, __: bytes) -> bytes:
        return reply(status="302 Found", location=target.format(port=site.port))

    names = {"site.test": [HERE], "metadata.test": ["169.254.169.254"]}
    async with serving(answer) as site, browsing(names) as web:
        why = await refused(web, f"http://site.test:{site.port}/")
    assert re.search(found, why)
    assert len(site.requests) == 1


async def test_a_name_with_a_good_and_a_bad_address_is_not_tried() -> None:
    """In whichever order."""
    async with serving(reply()) as site:
        for addresses in ([HERE, "10.0.0.1"], ["10.0.0.1", HERE]):
            async with browsing({"mixed.test": addresses}) as web:
                assert "mixed.test is at 10.0.0.1" in await refused(
                    web, f"http://mixed.test:{site.port}/"
                )
    assert site.requests == []


async def test_the_address_that_was_judged_is_the_one_connected_to() -> None:
    """A name that changes between the check and the connection has no second chance.

    Its first answer is allowed, and a second look-up would lead to another server of this machine.
    """

    class Rebinding(Names):
        async def __call__(self, host: str, port: int) -> list[str]:
            self.asked.append(host)
            return [HERE] if len(self.asked) == 1 else ["127.0.0.2"]

    names = Rebinding({})
    async with serving(reply(b"the judged one")) as site, browsing(names) as web:
        page = await web.fetch(Query("GET", f"http://rebind.test:{site.port}/"))
        assert page.body == b"the judged one"
        assert names.asked == ["rebind.test"]

        why = await refused(web, f"http://rebind.test:{site.port}/")
    assert "rebind.test is at 127.0.0.2" in why
    assert len(site.requests) == 1


async def test_the_next_address_is_tried_if_one_does_not_answer() -> None:
    """All of them were judged."""
    names = {"two.test": ["127.0.0.3", HERE]}
    allowed = ("127.0.0.3", HERE)
    async with serving(reply(b"hi")) as site, browsing(names, allowed=allowed) as web:
        page = await web.fetch(Query("GET", f"http://two.test:{site.port}/"))
    assert page.body == b"hi"


async def test_nobody_listening_is_said() -> None:
    """With a sentence."""
    async with serving(reply()) as site:
        port = site.port
    async with browsing() as web:
        assert "the request failed" in await refused(web, f"http://{HERE}:{port}/")


async def test_a_server_that_the_owner_named_is_reached_wherever_it_is() -> None:
    """For the search engine; it may be on this machine, and redirects are given, not followed."""
    async with serving(reply(status="302 Found", location="http://127.0.0.2/")) as site:
        web = Web(None, Caps(redirects=0))
        page = await web.fetch(Query("GET", f"http://{HERE}:{site.port}/"))
        assert (page.status, page.headers["location"]) == (302, "http://127.0.0.2/")
        await web.aclose()
    assert len(site.requests) == 1


# --- Redirects ---


async def test_redirects_are_followed_within_a_bound() -> None:
    """Five, and a loop ends at the sixth."""
    hops = {f"/{n}": reply(status="302 Found", location=f"/{n + 1}") for n in range(5)}
    loop = reply(status="301 Moved", location="/loop")
    async with serving({**hops, "/5": reply(b"end"), "/loop": loop}) as site, browsing() as web:
        page = await web.fetch(Query("GET", f"http://{HERE}:{site.port}/0"))
        assert (page.body, page.url) == (b"end", f"http://{HERE}:{site.port}/5")
        assert await refused(web, f"http://{HERE}:{site.port}/loop") == "more than 5 redirects"
    assert len(site.requests) == 12


async def test_credentials_stay_with_the_server_that_they_were_meant_for() -> None:
    """Another name is another server, also at the same address."""
    secret = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "a/b"}

    async def answer(_: trio.abc.Stream, request: bytes) -> bytes:
        if b"host: one.test" in request.lower():
            return reply(status="302 Found", location=f"http://two.test:{site.port}/")
        return reply(b"two")

    names = {"one.test": [HERE], "two.test": [HERE]}
    async with serving(answer) as site, browsing(names) as web:
        page = await web.fetch(Query("GET", f"http://one.test:{site.port}/", secret))
    assert page.body == b"two"
    first, second = (request.lower() for request in site.requests)
    for name in (b"authorization", b"cookie", b"x-api-key"):
        assert name in first
        assert name not in second
    assert b"accept: a/b" in second


# --- Too much, too slow ---


async def endless(stream: trio.abc.Stream, site: Site, piece: bytes) -> bytes:
    """A gigabyte, until the client leaves."""
    for _ in range(1_000_000_000 // len(piece)):
        await stream.send_all(piece)
        site.sent += len(piece)
    return b""


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_without_an_end_is_left_at_the_cap(chunked: bool) -> None:
    """Of a gigabyte that would come, no more is taken than the cap and what lies in buffers."""
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if chunked else b"x" * 0x10000
    head = NO_LENGTH[:-2] + (b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n")

    async def answer(stream: trio.abc.Stream, _: bytes) -> bytes:
        await stream.send_all(head)
        return await endless(stream, site, piece)

    async with serving(answer) as site, browsing() as web:
        why = await refused(web, f"http://{HERE}:{site.port}/")
        with trio.fail_after(20):
            await site.gone.wait()
    assert "more than the 100,000 bytes" in why
    assert site.sent < 20_000_000


async def test_a_body_that_is_announced_as_too_large_is_not_begun() -> None:
    """A gigabyte by its Content-Length."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"
    async with serving(answer) as site, browsing() as web:
        why = await refused(web, f"http://{HERE}:{site.port}/")
    assert "1000000000 bytes; 100,000 are taken at most" in why


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_refused(encoding: str) -> None:
    """Small on the wire, large in memory, if it were unpacked."""
    zeros = b"\0" * 50_000_000
    bomb = gzip.compress(zeros) if encoding == "gzip" else zlib.compress(zeros)
    async with serving(reply(bomb, content_encoding=encoding)) as site, browsing() as web:
        assert "more than the 100,000 bytes" in await refused(web, f"http://{HERE}:{site.port}/")


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "zstd"])
async def test_a_nested_bomb_and_other_packings_are_refused(encoding: str) -> None:
    """They were not asked for."""
    bomb = gzip.compress(gzip.compress(b"\0" * 10_000_000))
    async with serving(reply(bomb, content_encoding=encoding)) as site, browsing() as web:
        assert "not asked for" in await refused(web, f"http://{HERE}:{site.port}/")


async def drip(stream: trio.abc.Stream, piece: bytes) -> bytes:
    """A piece now and then, always in time for a timeout of one read."""
    while True:
        await stream.send_all(piece)
        await trio.sleep(0.02)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (NO_LENGTH, b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (NO_LENGTH[:-2] + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
async def test_an_answer_that_drips_is_left_at_the_deadline(head: bytes, piece: bytes) -> None:
    """The deadline is for the whole, so that a byte now and then buys no time."""

    async def answer(stream: trio.abc.Stream, _: bytes) -> bytes:
        await stream.send_all(head)
        return await drip(stream, piece)

    async with serving(answer) as site, browsing(caps=Caps(100_000, 0.3)) as web:
        with trio.fail_after(20):
            why = await refused(web, f"http://{HERE}:{site.port}/")
            await site.gone.wait()  # it was still dripping
    assert why == "no whole answer within 0.3 seconds"


async def test_redirects_share_one_deadline() -> None:
    """A slow chain is no way around it."""

    async def answer(_: trio.abc.Stream, __: bytes) -> bytes:
        await trio.sleep(0.15)
        return reply(status="302 Found", location="/")

    async with serving(answer) as site, browsing(caps=Caps(1000, 0.4)) as web:
        assert "within 0.4 seconds" in await refused(web, f"http://{HERE}:{site.port}/")


# --- Nonsense ---


@pytest.mark.parametrize(
    "answer",
    [
        *(
            b"",
            b"hello\r\n\r\n",
            b"\0" * 1000,
            b"HTTP/1.1 abc OK\r\n\r\n",
        ),
        *(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 302 Found\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: \xff\xfe://x\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_is_refused(answer: bytes) -> None:
    """With a sentence, and with no other error."""
    async with serving(answer) as site, browsing() as web:
        assert await refused(web, f"http://{HERE}:{site.port}/")


async def test_headers_without_an_end_are_refused() -> None:
    """They are bounded long before the deadline."""

    async def answer(stream: trio.abc.Stream, _: bytes) -> bytes:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        return await endless(stream, site, b"x-a: " + b"b" * 10_000 + b"\r\n")

    async with serving(answer) as site, browsing() as web:
        assert "the request failed" in await refused(web, f"http://{HERE}:{site.port}/")
        with trio.fail_after(20):
            await site.gone.wait()
    assert site.sent < 20_000_000


# --- Its own house ---


async def test_cancelled_requests_leave_no_place_taken() -> None:
    """After a storm of them as many go through at once as before."""
    held = trio.Event()

    async def answer(_: trio.abc.Stream, __: bytes) -> bytes:
        if not held.is_set():
            await trio.sleep_forever()
        return reply(b"hi")

    async with serving(answer) as site, browsing() as web:
        url = f"http://{HERE}:{site.port}/"
        for _ in range(3):
            with trio.move_on_after(0.1):
                async with trio.open_nursery() as nursery:
                    for _ in range(2 * AT_ONCE):
                        nursery.start_soon(web.fetch, Query("GET", url))
        held.set()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(2 * AT_ONCE):
                    nursery.start_soon(web.fetch, Query("GET", url))


async def test_no_more_than_a_few_requests_are_under_way_at_once() -> None:
    """The rest waits in front, where it can be cancelled without a loss."""
    under_way, most = 0, 0

    async def answer(_: trio.abc.Stream, __: bytes) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.sleep(0.02)
        under_way -= 1
        return reply()

    async with serving(answer) as site, browsing() as web, trio.open_nursery() as nursery:
        for _ in range(3 * AT_ONCE):
            nursery.start_soon(web.fetch, Query("GET", f"http://{HERE}:{site.port}/"))
    assert most <= AT_ONCE


MEMORY = """
import gzip, resource, trio
from agent.web.fetch import Caps, Web
from agent.web.guard import Refused
from agent.web.query import Query
from tests.agent.web.rig import browsing, reply, serving

PIECE = b"x" * 65536
def packed():
    import zlib
    packer = zlib.compressobj(9, wbits=31)
    for _ in range(1000):
        yield packer.compress(bytes(1_000_000))
    yield packer.flush()
BOMB = b"".join(packed())

async def answer(stream, request):
    if b"bomb" in request:
        return reply(BOMB, content_encoding="gzip")
    await stream.send_all(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    for _ in range(1_000_000_000 // len(PIECE)):
        await stream.send_all(PIECE)

async def main():
    async with serving(answer) as site, browsing(caps=Caps()) as web:
        async def once(path):
            try:
                await web.fetch(Query("GET", f"http://127.0.0.1:{site.port}/{path}"))
            except Refused as why:
                return str(why)
        await once("warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(3):
            assert "more than" in await once("endless")
            assert "more than" in await once("bomb")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
trio.run(main)
"""


def test_memory_stays_flat_whatever_comes() -> None:
    """A gigabyte of body and a gigabyte in a bomb, three times each, with the caps as they are.

    The peak of the whole process, the server included, grows by a few of the 4 MB that one page may
    have, and not with what comes.
    """
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40 * 1024  # kilobytes


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for good.test in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += (
        f" -subj /CN=good.test -addext subjectAltName=DNS:good.test -keyout {path} -out {path}.crt"
    )
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl, which makes the certificate, is not there")
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


async def test_a_certificate_is_that_of_the_name_and_not_of_the_address(certificate: Path) -> None:
    """Though the connection is made by the address; another name at it is not believed."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    tls = Tls(ssl.create_default_context(cafile=str(certificate)))
    names = {"good.test": [HERE], "other.test": [HERE]}
    async with serving(reply(b"hi"), server) as site, browsing(names, tls=tls) as web:
        page = await web.fetch(Query("GET", f"https://good.test:{site.port}/"))
        assert page.body == b"hi"
        for host in ("other.test", HERE):
            assert "certificate" in await refused(web, f"https://{host}:{site.port}/")
    assert len(site.requests) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    """With the authorities of the system."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    async with serving(reply(), server) as site, browsing({"good.test": [HERE]}) as web:
        assert "certificate" in await refused(web, f"https://good.test:{site.port}/")


def test_a_guard_is_what_a_client_has_unless_told_otherwise() -> None:
    """And one that allows nothing more than the public internet."""
    assert Web().guard == Guard(())
