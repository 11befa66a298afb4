"""MCP servers as the daemon has them: configured, supervised, used in turns, told of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from agent.mcp.spec import Http, ServerDown, Stdio
from daemon import redact
from daemon.config import McpServer, Secret
from daemon.demo.replies import ChatRequest, Reply, ToolCall
from daemon.mcpservers import McpServers, spec_of, task_name
from daemon.supervise import Health
from tests.agent.mcp.rig import HERE
from tests.harness.processes import family
from tests.harness.rig import Rig, open_rig

SECRET = "s3cret-of-some-length"


def test_what_is_configured_becomes_what_the_agent_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are read when the server is started, and masked from then on."""
    monkeypatch.setenv("KEY_OF_X", SECRET)
    configured = McpServer(
        command=("x",), env={"KEY": Secret(env="KEY_OF_X"), "LEVEL": "1"}, cwd="/", tools=("a",)
    )
    spec = spec_of("x", configured)
    assert isinstance(spec.transport, Stdio)
    assert (spec.name, spec.tools, spec.transport.cwd) == ("x", ("a",), "/")
    assert spec.transport.env() == {"KEY": SECRET, "LEVEL": "1"}
    assert SECRET not in redact.redact(f"it printed {SECRET}")
    assert SECRET not in repr(spec)


def test_a_secret_that_is_gone_is_the_servers_trouble() -> None:
    """The supervisor tries again; a `Fatal` would end the daemon."""
    spec = spec_of("x", McpServer(url="http://x", headers={"A": Secret(env="NO_SUCH_VARIABLE")}))
    assert isinstance(spec.transport, Http)
    with pytest.raises(ServerDown, match="NO_SUCH_VARIABLE is not set"):
        spec.transport.headers()


def test_a_server_that_waits_says_when_it_is_tried_again(tmp_path: Path) -> None:
    """By the supervisor's clock."""
    health = Health()
    servers = McpServers.of({"x": McpServer(command=("x",))}, health, tmp_path)
    assert servers.lines() == {"x": "starting"}
    server = servers.servers["x"]
    server.state, server.reason = "down", "it exited with 1"
    assert servers.lines()["x"] == "down: it exited with 1; it is being started again"
    health.of(task_name("x")).delay = 60.0
    assert servers.lines()["x"] == "down: it exited with 1; it is started again in 60 s"


async def test_what_a_server_lists_is_kept_for_the_next_start(tmp_path: Path) -> None:
    """In a file of the state directory; one that is not there or broken is nothing."""
    servers = McpServers.of({"x": McpServer(command=("x",))}, Health(), tmp_path)
    host = servers.servers["x"].host
    assert await host.recall() == ""
    await host.remember("[1]")
    await host.remember("[2]")
    assert await host.recall() == "[2]"
    assert [path.name for path in (tmp_path / "mcp").iterdir()] == ["x.json"]
    (tmp_path / "mcp" / "x.json").write_bytes(b"\xff")
    assert await host.recall() == ""


# --- In a daemon ---


def tables() -> dict[str, Any]:
    return {
        "good": {
            "command": [sys.executable, str(HERE / "good_server.py")],
            "tools": ["echo", "picture"],
        },
        "broken": {"command": [sys.executable, str(HERE / "rough_server.py"), "broken"]},
        "mute": {"command": [sys.executable, str(HERE / "rough_server.py"), "mute"]},
    }


def use_both(chat: ChatRequest) -> Reply:
    """Ask for both tools at once, and then repeat what they brought."""
    results = [str(each["content"]) for each in chat.messages if each["role"] == "tool"]
    if results:
        return Reply(" / ".join(results))
    assert {"good__echo", "good__picture"} <= chat.tool_names
    return Reply(
        calls=(ToolCall("good__echo", {"text": "hi"}, "c1"), ToolCall("good__picture", {}, "c2"))
    )


async def test_a_turn_uses_the_tools_of_a_server_and_no_bad_server_matters() -> None:
    """The daemon starts at once, tells of each, and leaves nothing of them behind."""
    async with open_rig(mcp=tables()) as rig:
        await rig.start()
        await rig.log_says("MCP server up")
        rig.model.script = use_both
        rig.bot.user_says("go")
        await rig.until(lambda: "good__picture" in said(rig))
        assert rig.bot.count("sendPhoto") == 0  # it is not marked as read-only: one is asked first
        rig.bot.user_says("/approve")
        await rig.until(lambda: "you said hi" in said(rig))
        assert '<untrusted source="good__echo">' in said(rig)
        await rig.until(lambda: rig.bot.count("sendPhoto") == 1)

        rig.bot.user_says("/status")
        await rig.until(lambda: "MCP good: up, 2 tools" in said(rig))
        assert "MCP broken: down: it exited with 1: " in said(rig)
        assert "no such thing as this server" in said(rig)
        assert "MCP mute: starting" in said(rig)

        below = family(rig.pid)
        assert [each for each in below if "good_server.py" in each.command]
        assert await rig.stop() == 0
        assert not [each for each in below if each.alive]


def said(rig: Rig) -> str:
    return "\n".join(rig.bot.texts(1))
