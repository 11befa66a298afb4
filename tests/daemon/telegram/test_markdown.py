"""Markdown: what each construct is shown as, and what is no markup at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telegram import markdown
from daemon.telegram.links import is_link
from daemon.telegram.markdown import parse
from daemon.telegram.parts import document
from tests.daemon.telegram.markup import written


def shown(source: str) -> str:
    return written(document(parse(source)))


EXAMPLES = {
    "styles": ("**b** _i_ ~~s~~ `c`", "{bold}b{/} {italic}i{/} {strikethrough}s{/} {code}c{/}"),
    "styles in one another": ("***a* b**", "{bold}{italic}a{/} b{/}"),
    "code in a style": ("**a `b` c**", "{bold}a {/}{code}b{/}{bold} c{/}"),
    "code in a link": ("[`a`](http://e.org)", "{text_link:http://e.org}a{/}"),
    "a heading": ("# One *two*\ntext", "{bold}One {italic}two{/}{/}\ntext"),
    "a heading below a line": ("One\n===\n\ntext", "{bold}One{/}\n\ntext"),
    "lines": ("a\nb  \nc\\\nd<br>e", "a\nb\nc\nd\ne"),
    "other ends of lines": ("a\r\nb\rc", "a\nb\nc"),
    "a rule": ("a\n\n---\n\nb", "a\n\n———\n\nb"),
    "escapes": (r"\*a\* &lt;b&gt; \_", "*a* <b> _"),
    # Text that looks like marks.
    "money": ("$10 and $11, ~$5 to ~$6", "$10 and $11, ~$5 to ~$6"),
    "about": ("~5 to ~6, a~b~c", "~5 to ~6, a~b~c"),
    "products": ("2*3*4, 2**3**4, a * b * c", "2*3*4, 2**3**4, a * b * c"),
    "names": ("snake_case_name __init__ _x", "snake_case_name __init__ _x"),
    "marks that are not closed": ("**a `b [c](d", "**a `b [c](d"),
    "bold beside letters that are no words": ("这是**重点**内容", "这是{bold}重点{/}内容"),
    # HTML.
    "tags in a line": ("a <b>b</b> <!-- c -->", "a <b>b</b> <!-- c -->"),
    "tags in lines of their own": (
        "<div>\n*a*\n</div>\n\n*b*",
        "<div>\n*a*\n</div>\n\n{italic}b{/}",
    ),
    "tags that are indented": ("  <p>a</p>\n\nb", "  <p>a</p>\n\nb"),
    "a comment of lines": ("a\n\n<!-- b\nc -->", "a\n\n<!-- b\nc -->"),
    "a script": ("<script>\na()\n</script>", "<script>\na()\n</script>"),
    # Links.
    "a link": ("[a *b*](https://e.org 'title')", "{text_link:https://e.org}a {italic}b{/}{/}"),
    "an address": ("<https://e.org> a@b.c", "{text_link:https://e.org}https://e.org{/} a@b.c"),
    "a link to code": ("[a](javascript:alert(1))", "a (javascript:alert(1))"),
    "a link into Telegram": ("[a](tg://user?id=1)", "a (tg://user?id=1)"),
    "a link to a file": ("[a](/etc/passwd)", "a (/etc/passwd)"),
    "a link to mail": ("[a](mailto:b@c.d) <b@c.d>", "a (mailto:b@c.d) b@c.d"),
    "a link to nowhere": ("[a]()", "a"),
    "a link by name": ("[a][1]\n\n[1]: http://e.org", "{text_link:http://e.org}a{/}"),
    "a name without a link": ("[a][1] [b]", "[a][1] [b]"),
    "a picture": ("![a](http://e.org/x.png)", "{text_link:http://e.org/x.png}a{/}"),
    "a picture without words": (
        "![](http://e.org/x.png)",
        "{text_link:http://e.org/x.png}image{/}",
    ),
    # Lists.
    "a list": ("- a\n- b\n  - c\n    - d", "• a\n• b\n  ◦ c\n    ▪ d"),
    "numbers": ("3. a\n4. b\n   - c", "3. a\n4. b\n   ◦ c"),
    "an item of paragraphs": ("1. a\n\n   b\n2. c", "1. a\n\n   b\n2. c"),
    "tasks": ("- [x] a\n- [ ] b\n  1. [x] c", "☑ a\n☐ b\n  1. ☑ c"),
    "empty items": ("- \n- a\n-", "•\n• a\n•"),
    "a paragraph below a list": (
        "1. a\n2. b\n\nc\n\n- d\n  - e\n\nf",
        "1. a\n2. b\n\nc\n\n• d\n  ◦ e\n\nf",
    ),
    "code in an item": ("- a\n  ```sh\n  b\n  ```\n- c", "• a\n{pre:sh}b{/}\n• c"),
    # Quotes.
    "a quote": ("> a\n> b\n\nc", "{blockquote}a\nb{/}\n\nc"),
    "quotes in one another": ("> a\n> > b\n>\n> c", "{blockquote}a\n> b\n\nc{/}"),
    "a list in a quote": ("> - a\n>   1. b", "{blockquote}• a\n  1. b{/}"),
    "a paragraph below a list in a quote": ("> - a\n>\n> b", "{blockquote}• a\n\nb{/}"),
    "code in a quote": ("> a\n>\n> ```\n> b\n> ```", "{blockquote}a\n\n{pre}b{/}{/}"),
    "a quote in a list": ("- a\n  > b", "• a\n{blockquote}  b{/}"),
    # Code.
    "code": ("```python title\na\n  b\n```", "{pre:python}a\n  b{/}"),
    "code without a language": ("a\n\n    b\n\nc", "a\n\n{pre}b{/}\n\nc"),
    "code that is not closed": ("```c++\na **b**", "{pre:c++}a **b**{/}"),
    "code of no language": ("```<x>\na\n```", "{pre}a{/}"),
    "empty code": ("a\n```\n```\nb", "a\nb"),
    # Tables.
    "a table": ("|a|bb|\n|-|-|\n|ccc|**d**|", "{pre}a   | bb\n----+---\nccc | d{/}"),
    "sides": ("|a|b|\n|-:|:-:|\n|ccc|ddd|", "{pre}  a |  b\n----+----\nccc | ddd{/}"),
    "wide characters": ("|名前|b|\n|-|-|\n|c|d|", "{pre}名前 | b\n-----+--\nc    | d{/}"),
    "a row that is short": ("|a|b|\n|-|-|\n|c|", "{pre}a | b\n--+--\nc |{/}"),
    "a link in a table": (
        "|a|\n|-|\n|[b](http://e.org)|",
        "{pre}a\n----------------\nb (http://e.org){/}",
    ),
    # Notes.
    "a note": ("a[^x].\n\n[^x]: b **c**\n    d", "a[x].\n\n[x] b {bold}c{/}\nd"),
    "a note that is not there": ("a[^x]", "a[^x]"),
    # What is no text.
    "controls": ("a\x00b\x1bc", "a b c"),
    "half a character": ("a\ud83d", "a\ufffd"),
    "two halves": ("\ud83d\ude00", "\U0001f600"),
    "what turns text around": ("a\u202eb", "ab"),
    "nothing": (" \n\n ", ""),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_construct_has_its_form(example: str) -> None:
    """The table is the specification."""
    source, expected = EXAMPLES[example]
    assert shown(source) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:x", "data:text/html,x", "file:///x", "tg://x", "ftp://e.org", "//e.org", "x"),
        *(
            "http://",
            "http://localhost",
            "http://[x",
            "http://e.org:0",
            "http://e.org:x",
            "http://a b.c",
        ),
        *("http://e.org/\u202e", "http://e.org/" + "x" * 2048),
    ],
)
def test_what_telegram_would_drop_is_no_link(url: str) -> None:
    assert not is_link(url)


@pytest.mark.parametrize(
    "url", ["http://e.org", "https://a.b:80/c?d#e", "http://1.2.3.4", "http://[::1]"]
)
def test_addresses_of_the_web_are_links(url: str) -> None:
    assert is_link(url)


@pytest.mark.parametrize("mark", ["> ", "- ", "1. ", ">- "])
def test_what_is_deeper_than_anybody_means_is_text(mark: str) -> None:
    """And so is what follows it; nothing is lost."""
    text = shown(f"**a**\n\n{mark * 40}b\n\nafter")
    assert text.startswith("{bold}a{/}\n\n")
    assert text.endswith(f"{mark * 40}b\n\nafter")


@pytest.mark.parametrize(
    "piece", ["a **b** ", "- a\n", "|a|b|\n", "> a\n\n", "a `b\n\nc` ", "```\nx\n```\n"]
)
def test_the_rest_of_a_document_without_end_is_text(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whatever the limit falls into."""
    monkeypatch.setattr(markdown, "MOST_EVENTS", 100)
    source = "|a|b|\n|-|-|\n" * piece.startswith("|") + piece * 200
    text = document(parse(source)).text
    assert all(text.count(letter) == source.count(letter) for letter in "abcx")
    assert text.endswith(source[-50:].rstrip())


@given(st.text(max_size=200))
def test_no_text_is_an_error(source: str) -> None:
    """Whatever the characters are."""
    shown(source)
