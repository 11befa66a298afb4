"""Arithmetic: exact, in decimal, and bounded."""

from __future__ import annotations

import json
import math
import operator
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.tools.registry import Registry, ToolError
from agent.tools.sums import MAX_DIGITS, calculate, sums_tools
from agent.transcript import CallRequest


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("17 * (3 + 4)", "119"),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("2 ^ 10", "1024"),
        ("7 × 6 ÷ 4 − 1", "9.5"),  # noqa: RUF001  (as people type it)
        ("1_000 + 0x10 + 1e3 + .5", "2016.5"),
        ("-7 // 2", "-4"),
        ("-7 % 2", "1"),
        ("7 % -2", "-1"),
        ("-(-3)", "3"),
        ("+3", "3"),
        ("2 ** -3", "0.125"),
        ("sqrt(16)", "4"),
        ("(0-1) ** (1e300 + 1)", "-1"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(2.665, 2)", "2.67"),
        ("round(1234, -2)", "1200"),
        ("floor(-2.5) + ceil(-2.5)", "-5"),
        ("min(3, 1, 2) + max(3, 1) + abs(-4)", "8"),
        ("factorial(20)", "2432902008176640000"),
        ("log10(1000)", "3"),
        ("0 * -1", "0"),
        ("10 ** 30", "1" + "0" * 30),
        ("1e1999", "1E+1999"),
        ("1e-60", "1E-60"),
        ("1 / 3", "about 0." + "3" * 40),
        ("3 * (1 / 3)", "about 1"),
        ("sqrt(2) * sqrt(2)", "about 2"),
        ("exp(ln(5))", "about 5"),
        ("2 * π", "about 6.283185307179586476925286766559005768394"),
        ("e", "about 2.718281828459045235360287471352662497757"),
        ("1e-5000", "about 0"),
        ("(1 + 1e-98) ** 1e98", "about 2.718281828459045235360287471352662497757"),
    ],
)
def test_values(expression: str, value: str) -> None:
    """What is exact is shown as it is, what is not as about."""
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("", "is not an arithmetic expression"),
        ("1 +", "is not an arithmetic expression"),
        ("1if 2else 3", "is not an arithmetic expression"),
        ("(" * 500 + "1", "is not an arithmetic expression"),
        ("1\0", "is not an arithmetic expression"),
        ("\ud800", "is not an arithmetic expression"),
        ("-" * 999 + "1", "nested too deeply"),
        ("1" * 1001, "longer than"),
        ("1 / 0", "division by zero"),
        ("1 // 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "negative power"),
        ("0 ** 0", "no such number"),
        ("sqrt(-1)", "no such number"),
        ("(-8) ** 0.5", "no such number"),
        ("ln(0)", "above zero"),
        ("log10(-1)", "above zero"),
        ("9 ** 9 ** 9", "digits"),
        ("10 ** 2000", "digits"),
        ("1e2000", "digits"),
        ("1e9999999999999999999999", "digits"),
        ("1e1999 * 10", "digits"),
        ("1e1999 // 1e-100", "digits"),
        ("1e1999 % 1e-100", "digits"),
        ("exp(1e100)", "digits"),
        ("ln(1 + 1e-500)", "close to 1"),
        ("(1 + 1e-1999) ** 1e1999", "close to 1"),
        ("factorial(501)", "0 to 500"),
        ("factorial(-1)", "0 to 500"),
        ("factorial(2.5)", "0 to 500"),
        ("round(1, 0.5)", "whole number of places"),
        ("round(1, 99)", "whole number of places"),
        ("sqrt(1, 2)", "takes 1 values"),
        ("round()", "takes 1 to 2 values"),
        ("1j", "is not arithmetic"),
        ("True", "is not arithmetic"),
        ("'a' * 3", "is not arithmetic"),
        ("[1][0]", "is not arithmetic"),
        ("1,000 + 1", "is not arithmetic"),
        ("1 < 2", "is not arithmetic"),
        ("x", "is not arithmetic"),
        ("__import__('os')", "is not arithmetic"),
        ("sqrt(x=1)", "is not arithmetic"),
        ("(lambda: 1)()", "is not arithmetic"),
        ("abs.__class__", "is not arithmetic"),
        ("1 << 9999999", "is not arithmetic"),
        ("f'{1}'", "is not arithmetic"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_what_is_refused_says_why(expression: str, words: str) -> None:
    """Hostile, wrong or too large: a sentence for the model, whole characters only."""
    with pytest.raises(ToolError, match=words) as caught:
        calculate(expression)
    str(caught.value).encode()


# --- Against other exact arithmetic ---

numbers = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=6)
SIGNS: dict[str, Callable[[Fraction, Fraction], Fraction | int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}


def written(number: Decimal) -> str:
    return f"({number:f})"


@given(numbers, numbers, st.sampled_from(sorted(SIGNS)))
def test_operations_are_exact(left: Decimal, right: Decimal, sign: str) -> None:
    """As fractions have it, rounding down and remainders included."""
    if sign in {"//", "%"} and not right:
        return
    expected = SIGNS[sign](Fraction(left), Fraction(right))
    assert Fraction(calculate(f"{written(left)} {sign} {written(right)}")) == expected


trees = st.recursive(
    numbers.map(lambda number: (written(number), Fraction(number))),
    lambda inner: st.builds(
        lambda left, sign, right: (
            f"({left[0]} {sign} {right[0]})",
            Fraction(SIGNS[sign](left[1], right[1])),
        ),
        inner,
        st.sampled_from(["+", "-", "*"]),
        inner,
    ),
    max_leaves=12,
)


@given(trees)
def test_whole_expressions_are_exact(tree: tuple[str, Fraction]) -> None:
    """However they nest."""
    expression, value = tree
    assert Fraction(calculate(expression)) == value


@given(numbers, numbers.filter(bool))
def test_a_quotient_is_exact_or_about(left: Decimal, right: Decimal) -> None:
    """What is not said to be about is exact; what is, is right to forty digits."""
    result, exact = (
        calculate(f"{written(left)} / {written(right)}"),
        Fraction(left) / Fraction(right),
    )
    if result.startswith("about "):
        found = Fraction(result.removeprefix("about "))
        assert abs(found - exact) <= abs(exact) / 10**39
    else:
        assert Fraction(result) == exact


@given(st.integers(-50, 50).filter(bool), st.integers(-40, 40))
def test_powers_are_exact_or_about(base: int, exponent: int) -> None:
    """As whole numbers and fractions have it."""
    result, exact = calculate(f"({base}) ** ({exponent})"), Fraction(base) ** exponent
    found = Fraction(result.removeprefix("about "))
    assert found == exact or (
        result.startswith("about ") and abs(found - exact) <= abs(exact) / 10**39
    )


@given(numbers, st.integers(-8, 8))
def test_rounding_is_to_the_nearest(number: Decimal, places: int) -> None:
    """Never further than half a place, and said to be exact since it was asked for."""
    result = Fraction(calculate(f"round({written(number)}, {places})"))
    assert abs(result - Fraction(number)) <= Fraction(10) ** -places / 2


@given(st.integers(0, 300))
def test_factorials(number: int) -> None:
    """To the last digit."""
    assert int(Decimal(calculate(f"factorial({number})"))) == math.factorial(number)


# --- Bounds ---

hostile = st.recursive(
    st.sampled_from(["9", "1e1999", "1e-1999", "0.1", "(1+1e-99)", "1" * 300, "pi", "7", "1e99"]),
    lambda inner: (
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["**", "*", "/", "%", "//", "+"]), inner
        )
        | st.builds("{}({})".format, st.sampled_from(["ln", "exp", "sqrt", "factorial"]), inner)
    ),
    max_leaves=10,
)


@given(hostile)
@settings(deadline=None, max_examples=200)
def test_nothing_takes_long_or_grows(expression: str) -> None:
    """Any expression ends at once, with a result that fits a chat, or is refused."""
    started = time.process_time()
    try:
        result = calculate(expression)
    except ToolError as error:
        result = str(error)
    assert len(result) < MAX_DIGITS + 200
    # A bound on hanging, not a measurement: the worst is a few hundredths of a second.
    assert time.process_time() - started < 2


@given(st.text(alphabet="0123456789.eE+-*/%()_, xjsqrtln\n'\"[]{}:=<>!&|~^#\\", max_size=40))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """Whatever a model writes, no other error comes out."""
    try:
        assert calculate(text)
    except ToolError as error:
        assert str(error)


async def test_as_a_tool() -> None:
    """What the model sees."""
    outcome = await Registry.of(sums_tools()).run(
        CallRequest("x", "calculate_expression", '{"expression": "1 / 0"}')
    )
    assert (outcome.text, outcome.failed) == ("Error: division by zero", True)


async def test_others_go_on_while_much_is_calculated() -> None:
    """A thousand characters may take a tenth of a second."""
    (tool,) = sums_tools()
    expression = "-".join(["7**2300"] * 120)
    went_on = 0

    async def go_on() -> None:
        nonlocal went_on
        while True:
            await trio.lowlevel.checkpoint()
            went_on += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        await trio.lowlevel.checkpoint()
        before = went_on
        outcome = await tool.call(json.dumps({"expression": expression}))
        assert went_on > before + 3
        nursery.cancel_scope.cancel()
    assert outcome.text == calculate(expression)
