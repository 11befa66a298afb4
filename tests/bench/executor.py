"""The executor beside its daemon: its memory while it waits, and code run for a chat.

PSS rather than RSS: the processes share the interpreter's pages, which would be counted several
times. They share them with the daemon too, so the executor is weighed as it lives, beside its
daemon, and once alone. Where it cannot start on this host there is no figure, and the reason is
said.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import trio

from daemon.demo.model import ModelServer
from daemon.demo.replies import ChatRequest, Reply, ToolCall
from daemon.demo.servers import open_demo_servers
from executor.client import ExecutorClient, ExecutorUnavailable
from tests.bench.measures import EXECUTOR, EXECUTOR_ALONE, TOOL, TOOL_FRESH, Samples
from tests.bench.subjects import (
    FAMULUS,
    INSTALLED,
    answered,
    end,
    field_mb,
    polling,
    running,
    scratch,
    servers,
    settled,
    start,
    write_config,
)

START_TIMEOUT = 10.0  # seconds
INTERVAL = 0.05


async def executor_memory() -> Samples:
    """Start the executor as `famulus executor` does, let it settle, and weigh it."""
    async with servers() as unused:
        with scratch() as place:
            config = write_config(place, unused)
            user = ("--user", "famulus-exec") if os.geteuid() == 0 else ()
            popen = start((*INSTALLED, "daemon", "executor", "--config", str(config), *user), place)
            try:
                return await _weigh(popen, config, place)
            finally:
                end(popen)


async def _weigh(popen: subprocess.Popen[bytes], config: Path, place: Path) -> Samples:
    if not await _is_up(popen, place / "executor.sock"):
        print("no executor here:", (place / "log").read_text().strip()[-300:], file=sys.stderr)
        return {}
    await settled(1.0)
    alone = _family_pss(popen)
    daemon = start((*INSTALLED, "daemon", "run", "--config", str(config)), place)
    try:
        await settled(2.0)
        return {EXECUTOR: [_family_pss(popen)], EXECUTOR_ALONE: [alone]}
    finally:
        end(daemon)


async def _is_up(popen: subprocess.Popen[bytes], socket: Path) -> bool:
    """Ask until it answers, ends, or takes too long: nobody announces readiness to us."""
    client = ExecutorClient(str(socket))
    with trio.move_on_after(START_TIMEOUT):
        while popen.poll() is None:
            try:
                await client.status()
            except ExecutorUnavailable:
                await trio.sleep(INTERVAL)
            else:
                return True
    return False


def family(pid: int) -> list[int]:
    """A process and all that descend from it now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def _family_pss(popen: subprocess.Popen[bytes]) -> float:
    return sum(_pss(pid) for pid in family(popen.pid))


def _pss(pid: int) -> float:
    return field_mb(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss:")


async def code_turns(rounds: int) -> Samples:
    """From a message to its answer, with `print(1)` in between: in a session, and in a box anew."""
    found: Samples = {}
    async with open_demo_servers(model=ModelServer(script=_runs_code)) as talk:
        with scratch() as place:
            config = write_config(place, talk)
            user = ("--user", "famulus-exec") if os.geteuid() == 0 else ()
            popen = start((*INSTALLED, "daemon", "executor", "--config", str(config), *user), place)
            try:
                if not await _is_up(popen, place / "executor.sock"):
                    return {}
                async with running(FAMULUS, talk, place) as bot:
                    await polling(bot)
                    for number in range(rounds + 3):
                        for name, text in ((TOOL, "session"), (TOOL_FRESH, "fresh")):
                            before = len(bot.bot.sent)
                            begun = time.monotonic()
                            bot.bot.user_says(text)
                            await answered(bot, before + 1)
                            assert "1" in bot.bot.sent[before].text, bot.bot.sent[before].text
                            if number > 2:  # the first ones warm things up
                                found.setdefault(name, []).append(bot.bot.sent[before].at - begun)
                            await settled(0.1)
            finally:
                end(popen)
    return found


def _runs_code(request: ChatRequest) -> Reply | str:
    """A model that has code run for whatever it is asked, and says what came of it."""
    last = request.messages[-1]
    if last["role"] == "tool":
        return str(last["content"])
    wanted = {"code": "print(1)", "fresh": request.user_text == "fresh"}
    return Reply(calls=(ToolCall("python_execute", wanted),))
