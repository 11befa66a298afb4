"""Front matter: the subset of YAML that skills and specialists begin with."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from agent.frontmatter import BadFrontMatter, Document, Value, read

# Signs that mean something to YAML, so that random texts of them meet its corners.
PIECES = st.sampled_from(
    [*"ab:-#'\"[]{},|>&*!%@`?\\ \n", "  ", "k: ", "\n  ", "\n- ", " #", ": ", "name: x\n", "é"]
)


def matter(inner: str) -> str:
    return f"---\n{inner}\n---\nbody\n"


def plain(value: object) -> object:
    """What PyYAML read, in our terms: texts without blanks around them, lists as tuples."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return tuple(plain(one) for one in value)
    return str(value).strip()


def stripped(value: Value) -> object:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, tuple):
        return tuple(one.strip() for one in value)
    return {key: stripped(one) for key, one in value.items()}


def test_every_form_that_the_format_shows_is_read() -> None:
    """Plain, quoted and folded texts, lists of both kinds and a map are read as texts."""
    text = matter(
        "# a comment\n"
        "name: web-research   # another\n"
        "description: >-\n  How to answer\n  from sources.\n\n  Twice.\n"
        'license: "MIT \\"or\\" so"\n'
        "notes: |\n  a\n    b\n"
        "metadata:\n  version: 1.10\n  ok: no\n"
        "tools:\n  allow: [a, 'b c']\n  deny:\n    - d\n    - e\n"
        "long: one\n  two\n"
    )
    assert read(text) == Document(
        {
            "name": "web-research",
            "description": "How to answer from sources.\nTwice.",
            "license": 'MIT "or" so',
            "notes": "a\n  b",
            "metadata": {"version": "1.10", "ok": "no"},
            "tools": {"allow": ("a", "b c"), "deny": ("d", "e")},
            "long": "one two",
        },
        "body",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: x\n", "line 1: expected ---"),
        ("---\nname: x\n", "is missing"),
        (matter("name: x\nname: y"), "line 3: name is there twice"),
        (matter("a: b: c"), "line 2: a text with a colon"),
        (matter("a: *x"), "line 2: a text that begins with *"),
        (matter("a:\tb"), "line 2: a tab"),
        (matter("a: 'b"), "line 2: a quoted text"),
        (matter("a: [b, [c]]"), "line 2: a list in brackets"),
        (matter("a: [b,]"), "line 2: a list in brackets"),
        (matter("just words"), "line 2: expected `key: value`"),
        (matter("a: 'b'\n  c: d"), "line 3: the line is indented"),
        (matter("a:\n b:\n  c:\n   d:\n    e: f"), "nested too deeply"),
        (matter("\n" * 300), "more than 200 lines"),
    ],
)
def test_what_is_not_of_the_subset_is_refused_by_its_line(text: str, why: str) -> None:
    """A refusal names the line and what is wrong with it."""
    with pytest.raises(BadFrontMatter) as caught:
        read(text)
    assert why in str(caught.value)


@given(st.lists(PIECES, max_size=25).map("".join))
@example("a: b\n  # c\n  d")
@example("a: >\n  b\n\n\n  c")
@example("a: |\n\n  b\n\n")
@example("a:\n- b\n- c\nd: e")
def test_what_is_accepted_means_the_same_to_another_reader(inner: str) -> None:
    """Any text is refused, or read as PyYAML reads it without blanks at the ends of lines."""
    try:
        found = read(matter(inner))
    except BadFrontMatter:
        return
    lines = [line.rstrip(" ") for line in f"{inner}\n---".split("\n")]
    text = "\n".join(lines[: lines.index("---")])
    assert stripped(found.fields) == plain(yaml.load(text, yaml.BaseLoader) or {})


@given(st.text())
def test_any_text_at_all_is_read_or_refused(text: str) -> None:
    """No text makes the reader fail in another way."""
    for whole in (text, matter(text)):
        with contextlib.suppress(BadFrontMatter):
            read(whole)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, max_codepoint=126)),
        max_size=5,
    )
)
def test_what_yaml_writes_in_quotes_is_read_back(fields: dict[str, str]) -> None:
    """A text in single quotes comes back to the letter."""
    lines = [f"{key}: '{text.replace(chr(39), chr(39) * 2)}'" for key, text in fields.items()]
    assert read(matter("\n".join(lines))).fields == fields


@pytest.mark.parametrize("line", ["tools: [a" + " " * 200_000 + "!]", "a: " + "b" * 5_000])
def test_a_line_without_end_is_refused_at_once(line: str) -> None:
    """A skill from anywhere must not hold up the start."""
    began = time.process_time()
    with pytest.raises(BadFrontMatter, match="more than 4000 characters"):
        read(f"---\n{line}\n---\n")
    assert time.process_time() - began < 0.1
