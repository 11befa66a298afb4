"""`calculate_expression`: exact decimal arithmetic, in bounded time.

The expression is parsed by Python's own grammar and evaluated here, node by node, over an
allow-list. Numbers are read from the source text into Decimal, so `0.1 + 0.2` is 0.3 and nothing is
ever calculated in floats. Results stay exact up to `MAX_DIGITS` digits; what cannot be exact (a
third, a root) is calculated with `PRECISION` digits and said to be about that.

No operation takes more than a few milliseconds: what would take longer is refused before it is
tried, and the length of the expression bounds how many there are. All of them together may take a
tenth of a second, so they are done in a thread, between whose operations the event loop goes on.
"""

from __future__ import annotations

import ast
import decimal
import operator
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, TypeAlias

import trio
from attrs import define, field

from agent.tools.registry import Kind, Tool, ToolError, tool

MAX_SOURCE = 1_000  # characters
MAX_DIGITS = 2_000  # of a result: two screens of a chat
PRECISION = 50  # digits of what cannot be exact
EXACT = decimal.Context(prec=MAX_DIGITS, Emax=MAX_DIGITS, Emin=-MAX_DIGITS, traps=[])
# What is not exact is shown with fewer digits than it was calculated with: 3 * (1/3) is about 1.
SHOWN = decimal.Context(prec=PRECISION - 10, Emax=MAX_DIGITS, Emin=-MAX_DIGITS, traps=[])
ROUGH = decimal.Context(prec=9)  # enough to tell how many digits a power will have
TOO_LONG = f"a value on the way has more than {MAX_DIGITS} digits"
TOO_DEEP = "the expression is nested too deeply"
MAX_FACTORIAL = 500
# Powers of whole numbers with larger exponents are too long to be written, and others are so long
# that they are rounded anyway.
MAX_EXACT_EXPONENT = 7_000
# Logarithms and powers of numbers nearer to 1 than this take seconds.
NEAREST_TO_ONE = Decimal("1e-100")

READABLE = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "π": "pi"}  # noqa: RUF001
)

Operation: TypeAlias = Callable[[Decimal, Decimal], Decimal]


def sums_tools() -> list[Tool]:
    @tool(kind=Kind.READ)
    async def calculate_expression(
        expression: Annotated[str, "such as (17.5 * 3) ** 2 / 7, sqrt(2), 15 % 4, round(2/3, 4)"],
    ) -> str:
        """Calculate an arithmetic expression exactly, in decimal.

        Offers + - * / // % ** and sqrt, abs, min, max, round (halves away from zero), floor, ceil,
        factorial, ln, log10, exp, pi, e. A result that had to be rounded begins with "about".
        """
        calculation = _Calculation.of(expression)
        return await trio.to_thread.run_sync(calculation.result)

    return [calculate_expression]


def calculate(expression: str) -> str:
    """The value of `expression` in words a model can repeat. Raises ToolError."""
    return _Calculation.of(expression).result()


def _parse(source: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "1if 2else 3" is a warning to Python, no sum to us
            return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "it is nested too deeply, or has odd characters"
        raise ToolError(f"{source!r:.100} is not an arithmetic expression: {reason}") from None


@define
class _Calculation:
    source: str
    _tree: ast.expr
    exact: bool = field(default=True, init=False)

    @classmethod
    def of(cls, expression: str) -> _Calculation:
        """Read an expression. Not in a thread, for the filter of warnings is the process's."""
        source = expression.strip().translate(READABLE)
        if len(source) > MAX_SOURCE:
            raise ToolError(f"the expression is longer than {MAX_SOURCE} characters")
        try:
            return cls(source, _parse(source))
        except RecursionError:
            raise ToolError(TOO_DEEP) from None

    def result(self) -> str:
        """Its value in words."""
        try:
            value = self.value(self._tree)
        except RecursionError:
            raise ToolError(TOO_DEEP) from None
        return _show(value) if self.exact else f"about {_show(SHOWN.plus(value))}"

    def value(self, node: ast.expr) -> Decimal:
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return self._number(node)
            case ast.Name(id=name) if name in CONSTANTS:
                self.exact = False
                return CONSTANTS[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.value(operand).copy_negate()
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.value(operand)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATIONS:
                return self._apply(OPERATIONS[type(sign)], self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return self._call(name, [self.value(each) for each in args])
            case _:
                written = ast.get_source_segment(self.source, node) or ""
                raise ToolError(f"{written!r:.60} is not arithmetic that this tool knows")

    def _number(self, node: ast.Constant) -> Decimal:
        """The literal as it was written; the parser's own value may already be a rounded float."""
        written = (ast.get_source_segment(self.source, node) or "").replace("_", "")
        if isinstance(node.value, int):
            return _bounded(Decimal(node.value))
        context = EXACT.copy()
        value = context.create_decimal(written)
        self.exact = self.exact and not context.flags[decimal.Inexact]
        return _bounded(value)

    def _apply(self, operation: Operation, left: Decimal, right: Decimal) -> Decimal:
        with decimal.localcontext(EXACT) as context:
            result = operation(left, right)
            inexact = bool(context.flags[decimal.Inexact])
        return self._rounded(result) if inexact else _bounded(result)

    def _call(self, name: str, args: list[Decimal]) -> Decimal:
        low, high, function = FUNCTIONS[name]
        if not low <= len(args) <= high:
            raise ToolError(f"{name} takes {low if low == high else f'{low} to {high}'} values")
        with decimal.localcontext(EXACT) as context:
            context.prec = PRECISION if name in ROUNDED else MAX_DIGITS
            result = function(*args)
            # Rounding that was asked for is exact.
            rounded = name in ROUNDED and context.flags[decimal.Inexact]
            self.exact = self.exact and not rounded
        return _bounded(result)

    def _rounded(self, result: Decimal) -> Decimal:
        self.exact = False
        with decimal.localcontext(EXACT) as context:
            context.prec = PRECISION
            return _bounded(+result)


def _bounded(value: Decimal) -> Decimal:
    if value.is_nan():
        raise ToolError("there is no such number (a division of zero by zero, or such a root)")
    if value.is_infinite() or (value and abs(value.adjusted()) >= MAX_DIGITS):
        raise ToolError(TOO_LONG)
    return value


def _apart_from_one(value: Decimal) -> Decimal:
    if value != 1 and abs(value - 1) < NEAREST_TO_ONE:
        raise ToolError("a logarithm or power of a number so close to 1 is too much for this tool")
    return value


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    """`base ** exponent`, refused before it is tried if the result could not be written down."""
    if base.is_zero() and exponent < 0:
        raise ToolError("zero has no negative power")
    size = _apart_from_one(abs(base))
    if base and abs(size.log10(ROUGH) * exponent) > MAX_DIGITS:
        raise ToolError(f"the power has more than {MAX_DIGITS} digits")
    whole = exponent == exponent.to_integral_value()
    if size == 1 and whole:
        return Decimal(1) if exponent % 2 == 0 else base
    if not (whole and 0 <= exponent <= MAX_EXACT_EXPONENT):
        decimal.getcontext().prec = PRECISION
    return base**exponent


def _logarithm(function: Callable[[Decimal], Decimal]) -> Callable[[Decimal], Decimal]:
    def logarithm(value: Decimal) -> Decimal:
        if value <= 0:
            raise ToolError("only numbers above zero have a logarithm")
        return function(_apart_from_one(value))

    return logarithm


def _divide(left: Decimal, right: Decimal) -> Decimal:
    if right.is_zero():
        raise ToolError("division by zero")
    decimal.getcontext().prec = PRECISION
    return left / right


def _floor_divide(left: Decimal, right: Decimal) -> Decimal:
    if right.is_zero():
        raise ToolError("division by zero")
    quotient, remainder = divmod(left, right)
    if quotient.is_nan():
        raise ToolError(TOO_LONG)
    return quotient - 1 if _is_off(remainder, right) else quotient


def _modulo(left: Decimal, right: Decimal) -> Decimal:
    if right.is_zero():
        raise ToolError("division by zero")
    remainder = left % right
    if remainder.is_nan():
        raise ToolError(TOO_LONG)
    return remainder + right if _is_off(remainder, right) else remainder


def _is_off(remainder: Decimal, right: Decimal) -> bool:
    """Whether rounding the quotient down, as we do, differs from rounding it towards zero."""
    return bool(remainder) and (remainder < 0) != (right < 0)


def _round(value: Decimal, places: Decimal = Decimal(0)) -> Decimal:
    if places != places.to_integral_value() or abs(places) > PRECISION:
        raise ToolError(f"round to a whole number of places, {PRECISION} at most")
    return value.quantize(Decimal(1).scaleb(-int(places)), decimal.ROUND_HALF_UP)


def _factorial(value: Decimal) -> Decimal:
    if value != value.to_integral_value() or not 0 <= value <= MAX_FACTORIAL:
        raise ToolError(f"factorial takes a whole number from 0 to {MAX_FACTORIAL}")
    product = Decimal(1)
    for factor in range(2, int(value) + 1):
        product *= factor
    return product


OPERATIONS: dict[type[ast.operator], Operation] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _modulo,
    ast.Pow: _power,
}

# name: (fewest values, most values, function)
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Decimal]]] = {
    "sqrt": (1, 1, Decimal.sqrt),
    "ln": (1, 1, _logarithm(Decimal.ln)),
    "log10": (1, 1, _logarithm(Decimal.log10)),
    "exp": (1, 1, Decimal.exp),
    "abs": (1, 1, abs),
    "min": (1, 20, min),
    "max": (1, 20, max),
    "round": (1, 2, _round),
    "floor": (1, 1, lambda value: value.to_integral_value(decimal.ROUND_FLOOR)),
    "ceil": (1, 1, lambda value: value.to_integral_value(decimal.ROUND_CEILING)),
    "factorial": (1, 1, _factorial),
}
ROUNDED = frozenset({"sqrt", "ln", "log10", "exp"})

# OEIS A000796 and A001113, to `PRECISION` digits.
CONSTANTS = {
    "pi": Decimal("3.1415926535897932384626433832795028841971693993751"),
    "e": Decimal("2.7182818284590452353602874713526624977572470936999"),
}


def _show(value: Decimal) -> str:
    """Plain digits where they are readable, scientific notation where they are not."""
    if value.is_zero():
        return "0"  # which has no sign and no places
    shortest = value.normalize(EXACT.copy())
    digits = len(shortest.as_tuple().digits)
    readable = -PRECISION <= shortest.adjusted() <= 2 * digits + PRECISION
    return f"{shortest:f}" if readable else f"{shortest:E}"
