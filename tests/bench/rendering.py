"""What rendering an answer takes: one of 12 kB, and the worst of many that are made to be slow."""

from __future__ import annotations

import time

from daemon.telegram.render import rendered
from tests.bench.measures import Samples

ANSWER = "rendering: 12 kB"
WORST = "rendering: 100 kB of the worst"
ROUNDS = 30
SIZE = 100_000

PAGE = """\
# A heading

Some **bold text** with _emphasis_ and `code` and a [link](https://example.org/a?b=c).

- item one with *it*
- item two
  - nested one

1. first
2. second

> quote with **bold**
> more

```python
for i in range(3):
    print(i)
```

| a | b |
|---|---|
| 1 | 2 |

A longer paragraph of plain prose goes here, with nothing in it but words that a model would write,
until it is long enough to be like an answer.

"""

# Each is repeated up to SIZE: open marks, marks in marks, many blocks, deep blocks, half of things.
LINKS = (
    "[",
    "![[",
    "](",
    "[[a](b)](c)",
    "[a](b",
    "[a][b]",
    "[a]: b\n",
    "[a]: <",
    "[^1]",
    "[^a]: b\n",
)
STYLES = ("*", "**", "*a ", "*_", "_a_ *b* ", "***a***b", "*a**b***c", "**a `b` ", "*`a`", "~~a~~ ")
CODE = ("`", "`a` ", "```\n", "```a\nb\n```\n", "    a\n\n", "\\", "a\\\n", "  \n", "\t", "\x00")
BLOCKS = ("> ", ">", "> a\n\n", "- ", "- a\n", "-\n", "- [ ] a\n", "> - ", "*- ", "1. ", "1) a\n")
LINES = ("|a", "|x|y|\n", "# a\n", "---\n", "a\n", "a\n\n", "x", "x ", "\U0001f600", "a\u0301", "$")
TAGS = ("<a ", "<br>", "<div>\n", "<!--", "<![CDATA[", "<?", "&amp;", "&#x", "<http://a.b>", "\n")
PIECES = (*LINKS, *STYLES, *CODE, *BLOCKS, *LINES, *TAGS)


def rendering() -> Samples:
    """Seconds each; of the worst, the time of the slowest input in each round."""
    document = PAGE * (12_000 // len(PAGE) + 1)
    worst = [(piece * SIZE)[:SIZE] for piece in PIECES]
    worst.append("|a|b|\n|-|-|\n" + ("|x|y|\n" * SIZE)[:SIZE])
    worst.append("".join(f"{'  ' * depth}- a\n" for depth in range(300)))
    for _ in range(ROUNDS):  # not measured: the parser is imported, the processor wakes up
        _seconds(document)
    return {
        ANSWER: [_seconds(document) for _ in range(ROUNDS)],
        WORST: [max(map(_seconds, worst)) for _ in range(3)],
    }


def _seconds(source: str) -> float:
    begun = time.perf_counter()
    rendered(source)
    return time.perf_counter() - begun
