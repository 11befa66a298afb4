"""Plays: conversations written down, to be held again and checked.

The format is in `play_format`. This module reads a play and decides whether a reply is as expected;
`stage` performs it.

    > what is 2 + 2?
    < = 4
    ! restart
    > what did I say?
    < what is 2 + 2?
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from attrs import evolve, frozen

from daemon.demo.samples import KINDS
from daemon.errors import FamulusError

PLAYS: Final = Path(__file__).with_name("plays")
DEFAULT_TIMEOUT: Final = 15.0
MARKS: Final = frozenset({">", "+", "<", "<~", "<!", "!"})
# Stands for an address that is not known before the play.
NEIGHBOUR: Final = "{neighbour}"
SECTIONS: Final = {"@always": None, "@code": True, "@nocode": False}


class PlayError(FamulusError):
    """A play cannot be read; the cause names file and line."""


@frozen
class Say:
    """The user says something."""

    line: int
    text: str


@frozen
class Send:
    """The user sends something else: a kind of `samples`, and the words that go with it."""

    line: int
    kind: str
    words: str = ""


@frozen
class Expect:
    """A reply is expected, or, with `absent`, not wanted."""

    line: int
    what: str
    regex: bool = False
    absent: bool = False

    def met_by(self, replies: Iterable[str]) -> bool:
        """Whether the replies so far are as expected."""
        return any(self._fits(reply) for reply in replies) != self.absent

    def _fits(self, reply: str) -> bool:
        if self.regex:
            return re.search(self.what, reply, re.MULTILINE) is not None
        return self.what in reply

    def __str__(self) -> str:
        kind = "matching" if self.regex else "containing"
        return f"{'no reply' if self.absent else 'a reply'} {kind} {self.what!r}"


@frozen
class Press:
    """The user presses the newest button that says this."""

    line: int
    label: str


@frozen
class Restart:
    """The daemon is killed and started again."""

    line: int


@frozen
class Seen:
    """The daemon has received what the user said: it has confirmed the update."""

    line: int


@frozen
class Timeout:
    """From here on an expected reply may take so many seconds."""

    line: int
    seconds: float


@frozen
class Neighbourhood:
    """The play needs the demo's neighbours; see `neighbours`."""

    line: int


Step: TypeAlias = Say | Send | Press | Expect | Restart | Seen | Timeout | Neighbourhood


ORDERS: Final[dict[str, Callable[[int], Step]]] = {
    "seen": Seen,
    "restart": Restart,
    "neighbours": Neighbourhood,
}


@frozen
class Scene:
    """A step with its condition: None always, True only with code tools, False only without."""

    step: Step
    with_code: bool | None = None


@frozen
class Play:
    """A whole play."""

    name: str
    scenes: tuple[Scene, ...]

    def steps(self, *, with_code: bool) -> list[Step]:
        """Give the steps for a daemon that can, or cannot, run code."""
        return [s.step for s in self.scenes if s.with_code in (None, with_code)]

    @property
    def wants_neighbours(self) -> bool:
        """Whether it is played among neighbours."""
        return any(isinstance(scene.step, Neighbourhood) for scene in self.scenes)

    def beside(self, url: str) -> Play:
        """The same play, where what is said names the neighbour's web server by its address."""
        return evolve(self, scenes=tuple(_placed(scene, url) for scene in self.scenes))


def _placed(scene: Scene, url: str) -> Scene:
    step = scene.step
    if not isinstance(step, Say):
        return scene
    return evolve(scene, step=Say(step.line, step.text.replace(NEIGHBOUR, url)))


def find(name: Path) -> Path:
    """Give the file of a play: a path, or the name of one that is shipped. Raises PlayError."""
    shipped = PLAYS / f"{name}.play"
    if name.is_file():
        return name
    if len(name.parts) == 1 and shipped.is_file():
        return shipped
    known = ", ".join(sorted(path.stem for path in PLAYS.glob("*.play")))
    raise PlayError(f"there is no play {name}", f"give a file, or one of: {known}")


def load(path: Path) -> Play:
    """Read the play at `path`. Raises PlayError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlayError(f"the play {path} cannot be read: {error}") from error
    return parse(text, name=path.name)


def parse(text: str, *, name: str = "play") -> Play:
    """Read a play. Raises PlayError at the first line that makes no sense."""
    scenes: list[Scene] = []
    with_code: bool | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line in SECTIONS:
            with_code = SECTIONS[line]
        elif line.startswith("|"):
            _continue(scenes, raw, f"{name}:{number}")
        elif line and not line.startswith("#"):
            scenes.append(Scene(_step(line, number, name), with_code))
    if not scenes:
        raise PlayError(f"{name} has no steps", "a play needs at least one `>` line")
    _check_order(scenes, name)
    return Play(name, tuple(scenes))


def _continue(scenes: list[Scene], raw: str, where: str) -> None:
    """Add a line to what the user says; white space after the bar but one blank is kept."""
    last = scenes[-1].step if scenes else None
    if not isinstance(last, Say):
        raise PlayError(f"{where}: a `|` line must follow a `>` line")
    more = raw.lstrip()[1:].removeprefix(" ").rstrip()
    scenes[-1] = evolve(scenes[-1], step=Say(last.line, f"{last.text}\n{more}"))


def _step(line: str, number: int, name: str) -> Step:
    where = f"{name}:{number}"
    mark, _, rest = line.partition(" ")
    rest = rest.strip()
    if mark not in MARKS:
        raise PlayError(f"{where}: a line cannot begin with {mark!r}", "see `famulus demo --help`")
    if not rest:
        raise PlayError(f"{where}: nothing follows {mark!r}", "see `famulus demo --help`")
    match mark:
        case ">":
            return Say(number, rest)
        case "+":
            return _send(number, rest, where)
        case "<" | "<!":
            return Expect(number, rest, absent=mark == "<!")
        case "<~":
            return _regex(number, rest, where)
        case _:
            return _order(number, rest, where)


def _send(number: int, what: str, where: str) -> Step:
    kind, _, words = what.partition(" ")
    if kind not in KINDS:
        raise PlayError(f"{where}: nobody can send {kind!r}", f"known: {', '.join(KINDS)}")
    return Send(number, kind, words.strip())


def _regex(number: int, pattern: str, where: str) -> Expect:
    try:
        re.compile(pattern)
    except re.error as error:
        raise PlayError(f"{where}: not a regular expression: {error}") from None
    return Expect(number, pattern, regex=True)


def _order(number: int, order: str, where: str) -> Step:
    if order in ORDERS:
        return ORDERS[order](number)
    verb, _, rest = order.partition(" ")
    if verb == "timeout" and re.fullmatch(r"\d+(\.\d+)?", rest):
        return Timeout(number, float(rest))
    if verb == "press" and rest.strip():
        return Press(number, rest.strip())
    known = f"known: {', '.join(ORDERS)}, timeout SECONDS, press LABEL"
    raise PlayError(f"{where}: unknown order {order!r}", known)


def _check_order(scenes: Sequence[Scene], name: str) -> None:
    """An expectation needs something that was said before it, in each of the two readings."""
    for with_code in (True, False):
        for step in Play(name, tuple(scenes)).steps(with_code=with_code):
            if isinstance(step, Say | Send):
                break
            if isinstance(step, Expect):
                raise PlayError(f"{name}:{step.line}: a reply is expected before a `>` line")
