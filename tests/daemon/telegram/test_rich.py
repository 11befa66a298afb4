"""Rich messages: what goes as one, and that no dollar becomes a formula by accident."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.telegram.markdown import parse
from daemon.telegram.parts import document
from daemon.telegram.rich import MOST_CHARACTERS, literally, rich_markdown

TABLE = "|a|b|\n|-|-|\n|c|d|"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (TABLE, TABLE),
        ("$x$ is $x^2 + y_1$", "$x$ is $x^2 + y_1$"),
        (r"so \(x = 1\) and \[ \frac{1}{2} \]", r"so $x = 1$ and $$\frac{1}{2}$$"),
        (r"\[\begin{a} x \\[2pt] y \end{a}\]", r"$$\begin{a} x \\[2pt] y \end{a}$$"),
        (r"\(\left(x\right)\)", r"$\left(x\right)$"),
        ("$$\n\\sum_i x_i\n$$", "$$\\sum_i x_i$$"),
        ("$x^2$ for $5 to $10", r"$x^2$ for \$5 to \$10"),
        ("`$HOME` costs $x^2$\n\n    $5", "`$HOME` costs $x^2$\n\n    $5"),
        (f"{TABLE}\n\n$395k vs $483k", f"{TABLE}\n\n\\$395k vs \\$483k"),
        (f"{TABLE}\n\nalready \\$5", f"{TABLE}\n\nalready \\$5"),
        (f"{TABLE}\n\na<br>b", f"{TABLE}\n\na<br>b"),
    ],
)
def test_tables_and_formulas_are_rich_and_other_dollars_are_escaped(
    source: str, expected: str
) -> None:
    """Of code nothing is changed."""
    assert rich_markdown(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        *(
            "",
            "plain **words**",
            "$395k vs $483k",
            "from $5 to $10",
            "US$5, CA$6",
            "$HOME and $PATH",
        ),
        *("costs $$ to $$$", r"see \[1\] and \[citation needed\]", r"\(an aside\)", "`$x^2$`"),
        *(f"{TABLE}\n\n<b>x</b>", f"{TABLE}\n\n![x](http://e.org/y.png)"),
        *(f"{TABLE}\n\n[x](javascript:y)", f"{TABLE}\n\n[x](tg://photo?id=1)"),
        *(f"{TABLE}\n\n" + "a\n\n" * 600, f"{TABLE}\n\n" + "> " * 20 + "a"),
        *("|a" * 21 + "|\n" + "|-" * 21 + "|\n", TABLE + "x" * MOST_CHARACTERS),
    ],
)
def test_everything_else_is_not_rich(source: str) -> None:
    """What is no table and no formula, what Telegram would fetch or read, what is too much."""
    assert rich_markdown(source) is None


MONEY = st.lists(
    st.sampled_from(["$10 ", "$", "a ", "$HOME", "US$5", "$5-$7", " ", "\\", "* ", "\n", "$5k vs "])
).map("".join)


@given(MONEY)
def test_money_is_never_a_formula(text: str) -> None:
    """However the dollars stand; and what is escaped is shown as it was."""
    source = f"{TABLE}\n\n{text}"
    found = rich_markdown(source)
    assert found is not None
    assert re.search(r"(?<!\\)(?:\\\\)*\$", found) is None
    assert document(parse(found)).text == document(parse(source)).text


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_lines_of_ours_are_shown_as_they_are(line: str) -> None:
    """Whatever a question begins with, of which they quote the beginning."""
    assert document(parse(f"x{literally(line)}")).text == f"x{line}"
