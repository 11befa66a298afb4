"""MCP servers as real processes, well and ill behaved, seen as a turn sees them."""

from __future__ import annotations

import json
from functools import partial

import pytest
import trio

from agent.mcp import server as server_module
from agent.mcp import stdio
from agent.mcp.server import Server
from agent.mcp.spec import ServerDown, ServerSpec, Stdio
from daemon.supervise import Health, supervise
from daemon.supervise import Policy as Backoff
from tests.agent.mcp.rig import (
    UP,
    FakeHost,
    bare,
    call,
    good,
    live,
    living,
    rough,
)

# --- A server as it should be ---


async def test_a_good_server_is_used_in_all_its_ways() -> None:
    """Text, an error, a picture, a structure; and a call that is cancelled hears of it."""
    host = FakeHost()
    async with living(good(), host) as server:
        text = await call(server, "echo", '{"text": "hi"}')
        assert (bare(text), text.failed) == ("you said hi", False)

        error = await call(server, "fail", '{"why": "because"}')
        assert error.failed
        assert "because" in bare(error)

        wrong = await call(server, "echo", '{"txt": "hi"}')
        assert wrong.failed  # the server checks its arguments

        picture = await call(server, "picture")
        assert bare(picture) == "[image picture-1.png, image/png, 70 bytes]"
        (file,) = picture.files
        assert file.data.startswith(b"\x89PNG")

        structure = await call(server, "numbers")
        assert json.loads(bare(structure)) == {"one": 1}

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server, "slow")
            await host.marks(1)
            nursery.cancel_scope.cancel()
        assert await host.marks(2) == ["begun", "cancelled"]
        assert bare(await call(server, "echo", '{"text": "on"}')) == "you said on"


async def test_a_list_that_changes_is_fetched_anew() -> None:
    """What is offered is that list from the next registry on."""
    host = FakeHost()
    async with living(good(), host) as server:
        assert "newcomer" not in [each.tool for each in server.offer.tools]
        await call(server, "grow")
        await host.heard("MCP tools listed anew")
        assert bare(await call(server, "newcomer")) == "new"


# --- Servers with bad manners ---


async def test_all_pages_of_the_list_are_read() -> None:
    """A server may hand its tools out one by one."""
    async with living(rough("pages")) as server:
        assert len(server.offer.tools) == 17
        # Of what they bring nothing is kept by the package, which would keep it for ever.
        assert server._session is not None
        assert server._session._client._tool_output_schemas == {}


async def test_a_server_without_the_old_handshake_is_asked_what_it_speaks() -> None:
    """The revision of 2026 has none; one that refuses it is not given up."""
    async with living(rough("modern")) as server:
        assert bare(await call(server, "echo")) == "echo"


async def test_a_storm_of_cancelled_calls_leaves_nothing_behind() -> None:
    """Every slot comes back, whatever the call was doing: waiting for one, sent, or answered."""
    async with living(rough()) as server:
        for moment in range(40):
            async with trio.open_nursery() as nursery:
                for tool in ("hang", "echo") * 6:
                    nursery.start_soon(call, server, tool)
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        assert server._slots.statistics().borrowed_tokens == 0
        assert server._slots.statistics().tasks_waiting == 0
        assert server._session is not None
        assert bare(await call(server, "echo")) == "echo"
        assert server._session._client._dispatcher._pending == {}


async def test_a_call_that_is_cancelled_leaves_others_alone() -> None:
    """The server is told, at once, of the one that nobody waits for."""
    host = FakeHost()
    async with living(rough(), host) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server, "hang")
            await host.marks(2)
            assert bare(await call(server, "echo")) == "echo"
            begun = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 1.0
        assert (await host.marks(3))[1:] == ["begun", "cancelled"]
        assert bare(await call(server, "echo")) == "echo"


async def test_a_server_that_dies_in_a_call_says_how() -> None:
    """The call gets an error at once, with the exit code and the server's last words."""
    async with living(rough()) as server:
        outcome = await call(server, "die")
        assert outcome.failed
        assert "srv went down during the call (it exited with 3: " in outcome.text
        assert "my last words)" in outcome.text
        assert "may or may not have taken effect" in outcome.text
        later = await call(server, "echo")
        assert "srv is down (it exited with 3: " in later.text
        assert "my last words); it is started again in 4 s" in later.text


async def test_a_server_that_is_killed_in_a_call_says_so() -> None:
    """By whatever signal."""
    async with living(rough()) as server:
        outcome = await call(server, "killed")
        assert "it was killed by signal 9" in outcome.text


async def test_what_is_no_message_is_dropped() -> None:
    """Banners and noise on standard output do no harm."""
    async with living(rough()) as server:
        assert bare(await call(server, "garbage")) == "after garbage"


async def test_a_flood_of_noise_ends_the_server() -> None:
    """It would keep us busy for ever."""
    async with living(rough()) as server:
        outcome = await call(server, "noise")
        assert "it writes to its standard output what is no message" in outcome.text


@pytest.mark.parametrize(
    ("tool", "why"),
    [("huge", "the answer is larger than 8388608 bytes"), ("dense", "more than 5000 values")],
)
async def test_an_answer_that_is_too_much_fails_its_call_alone(tool: str, why: str) -> None:
    """It is refused before it is parsed; the server lives on."""
    async with living(rough()) as server:
        outcome = await call(server, tool)
        assert outcome.failed
        assert why in outcome.text
        assert bare(await call(server, "echo")) == "echo"


async def test_a_line_without_an_end_takes_no_memory() -> None:
    """Nobody can tell whose answer it is: the call runs into its time limit, the server is ended.

    It does not answer a ping any more, either.
    """
    async with living(rough(), timeout=1.0) as server:
        with trio.fail_after(20):
            outcome = await call(server, "endless")
        assert "did not answer within 1 s" in outcome.text


async def test_an_answer_that_is_none_is_an_error() -> None:
    """What the protocol does not know is not passed on."""
    async with living(rough()) as server:
        outcome = await call(server, "malformed")
        assert outcome.failed
        assert "its answer is not what the protocol says" in outcome.text


async def test_an_answer_that_is_no_message_fails_its_call_at_once() -> None:
    """It says whose answer it would be; to wait for another would take a minute."""
    async with living(rough()) as server:
        outcome = await call(server, "word")
        assert bare(outcome) == "Error: the answer is not what the protocol says"
        assert bare(await call(server, "echo")) == "echo"


async def test_a_text_that_was_cut_within_a_character_is_read() -> None:
    """Programs that count in UTF-16 write such; the parser takes none of it."""
    async with living(rough()) as server:
        assert bare(await call(server, "half")) == "cut \ufffd"


async def test_half_a_character_in_an_argument_harms_nobody() -> None:
    """A model may write it, and it cannot be sent."""
    async with living(rough()) as server:
        assert bare(await call(server, "echo", r'{"text": "\ud83d"}')) == "echo"
        assert server.state == "up"


async def test_a_server_that_asks_and_never_listens_costs_no_tasks() -> None:
    """A flood of requests is read at a pace, and answered as far as there is room."""
    host = FakeHost()
    async with living(rough(), host) as server:
        before = trio.lowlevel.current_statistics().tasks_living
        assert bare(await call(server, "beg")) == "please"
        assert (await host.marks(2))[1] == "begging"
        for _ in range(10_000):
            await trio.lowlevel.checkpoint()
        assert trio.lowlevel.current_statistics().tasks_living <= before + 1


async def test_an_error_of_the_server_is_passed_on() -> None:
    """Also with the code that the package uses for a closed connection."""
    async with living(rough()) as server:
        outcome = await call(server, "error")
        assert (bare(outcome), outcome.failed) == ("Error: out of paper", True)


async def test_a_call_without_an_answer_ends_at_its_time_limit() -> None:
    """The server is told; it still answers others, so it stays."""
    host = FakeHost()
    async with living(rough(), host, timeout=0.2) as server:
        outcome = await call(server, "hang")
        assert "did not answer within 0.2 s and was told to stop" in outcome.text
        assert (await host.marks(3))[-1] == "cancelled"
        assert bare(await call(server, "echo")) == "echo"


async def test_a_server_that_hangs_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that let a call time out and then answers no ping either is started anew."""
    monkeypatch.setattr("agent.mcp.session.PING_TIMEOUT", 0.2)
    host = FakeHost()
    server = Server(ServerSpec(name="srv", transport=rough(), timeout=0.2), host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_fails_with, server, "it does not answer any more")
        await host.heard(UP)
        await call(server, "freeze")


async def _fails_with(server: Server, why: str) -> None:
    with trio.fail_after(30), pytest.raises(ServerDown, match=why):
        await server.run()


async def test_a_server_that_does_not_start_is_given_up() -> None:
    """In its time; meanwhile a call is told that it is starting."""
    server = Server(ServerSpec(name="srv", transport=rough("mute"), start_timeout=0.3), FakeHost())
    assert server.line() == "starting"
    assert "still starting" in server.down()
    assert server.offer.tools == ()
    await _fails_with(server, "it was not ready after 0.3 s")
    assert server.line() == "down: it was not ready after 0.3 s; it is started again in 4 s"


async def test_a_server_that_breaks_at_its_start_says_why() -> None:
    """Its last words, without the secrets in them."""
    server = Server(ServerSpec(name="srv", transport=rough("broken")), FakeHost())
    await _fails_with(server, "it exited with 1: .*no such thing as this server")


async def test_a_program_that_is_not_there_is_named() -> None:
    """As the shell would, which is not asked."""
    transport = Stdio(command=("/no/such/program",))
    server = Server(ServerSpec(name="srv", transport=transport), FakeHost())
    await _fails_with(server, "cannot start '/no/such/program': No such file or directory")


async def test_a_directory_that_is_not_there_is_named() -> None:
    """The keeper itself cannot be started then."""
    transport = Stdio(command=("true",), cwd="/no/such/directory")
    server = Server(ServerSpec(name="srv", transport=transport), FakeHost())
    await _fails_with(server, "it cannot be started: .*No such file or directory")


async def test_a_secret_that_is_gone_keeps_the_server_down() -> None:
    """And is masked where the reason shows one."""

    def gone() -> dict[str, str]:
        raise ServerDown("the file for s3cret is gone")

    server = Server(ServerSpec(name="srv", transport=rough(env=gone)), FakeHost())
    await _fails_with(server, r"the file for \*\*\* is gone")


async def test_what_was_listed_before_is_offered_before_the_server_is_up() -> None:
    """After a restart of the daemon. A call waits for that one start, as long as it takes."""
    host = FakeHost()
    async with living(rough(), host):
        pass
    server = Server(ServerSpec(name="srv", transport=rough("mute"), start_timeout=0.5), host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, server)
        while not server.offer.tools:
            await trio.lowlevel.checkpoint()
        assert "is down (it was not ready after 0.5 s)" in (await call(server, "echo")).text
    again = Server(ServerSpec(name="srv", transport=rough()), host)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, again)
        while not again.offer.tools:
            await trio.lowlevel.checkpoint()
        assert again.state == "starting"
        assert bare(await call(again, "echo")) == "echo"
        nursery.cancel_scope.cancel()


async def test_a_dead_server_is_started_again() -> None:
    """By the supervisor, with its pause; the tools stay offered and answer meanwhile."""
    host, health = FakeHost(), Health()
    host = FakeHost()
    server = Server(ServerSpec(name="srv", transport=rough()), host)
    run = partial(supervise, health=health, policy=Backoff(first_delay=0.2, max_failures=None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "mcp srv", server.run)
        await host.heard(UP)
        await call(server, "die")
        assert len(server.offer.tools) == 17
        assert server.state == "down"
        await host.heard(UP, times=2)
        assert bare(await call(server, "echo")) == "echo"
        assert health.of("mcp srv").restarts == 1
        nursery.cancel_scope.cancel()
    first, second = (line for line in await host.marks(2) if line.startswith("pid"))
    assert first != second


# --- Bounds ---


async def test_calls_beyond_the_bound_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server has so many calls at once, however many turns want it."""
    monkeypatch.setattr(server_module, "CALLS_AT_ONCE", 1)
    host = FakeHost()
    async with living(rough(), host) as server, trio.open_nursery() as nursery:
        nursery.start_soon(call, server, "hang")
        await host.marks(2)
        with trio.move_on_after(0.2) as scope:
            await call(server, "echo")
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_a_call_that_waited_meets_the_server_as_it_is_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has not been sent; nobody need wonder whether it has taken effect."""
    monkeypatch.setattr(server_module, "CALLS_AT_ONCE", 1)
    host, outcomes = FakeHost(), []
    async with living(rough(), host) as server:

        async def wait_and_call() -> None:
            outcomes.append(await call(server, "echo"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, server, "die")
            while server._slots.statistics().borrowed_tokens == 0:
                await trio.lowlevel.checkpoint()
            nursery.start_soon(wait_and_call)
    assert "srv is down (it exited with 3" in outcomes[0].text


async def test_a_server_that_reads_nothing_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call whose arguments do not fit into the pipe would wait for ever."""
    monkeypatch.setattr(stdio, "WRITE_TIMEOUT", 0.2)
    host = FakeHost()
    async with living(rough(), host) as server, trio.open_nursery() as nursery:
        nursery.start_soon(call, server, "freeze")
        await host.marks(2)
        outcome = await call(server, "echo", json.dumps({"text": "x" * 1_000_000}))
        assert "it has not read its input for 0.2 s" in outcome.text
