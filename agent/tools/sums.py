"""`calculate_expression`: exact decimal arithmetic, in bounded time.

The expression is parsed by Python's own grammar and evaluated here, node by node, over an
allow-list. Numbers are read from the source text into Decimal, so `0.1 + 0.2` is 0.3 and no float
is ever made. Integers stay exact up to `MAX_DIGITS` digits; what cannot be exact (a third, a root)
is rounded to `PRECISION` digits and said to be.
"""

from __future__ import annotations

import ast
import decimal
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, TypeAlias

from attrs import define

from agent.tools.registry import Kind, Tool, ToolError, tool

MAX_SOURCE = 1_000  # characters
MAX_DIGITS = 2_000  # of a result: two screens of a chat
PRECISION = 50  # digits of a result that is not exact
EXACT = decimal.Context(prec=MAX_DIGITS, Emax=MAX_DIGITS, Emin=-MAX_DIGITS, traps=[])
MAX_FACTORIAL = 500

READABLE = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**"})  # noqa: RUF001

Operation: TypeAlias = Callable[[Decimal, Decimal], Decimal]


def sums_tools() -> list[Tool]:
    @tool(kind=Kind.READ)
    async def calculate_expression(
        expression: Annotated[str, "such as (17.5 * 3) ** 2 / 7, sqrt(2), 15 % 4, round(2/3, 4)"],
    ) -> str:
        """Calculate an arithmetic expression exactly, in decimal.

        Offers + - * / // % ** and sqrt, abs, min, max, round, floor, ceil, factorial, ln, log10,
        exp, pi, e.
        """
        return calculate(expression)

    return [calculate_expression]


def calculate(expression: str) -> str:
    """The value of `expression` in words a model can repeat. Raises ToolError."""
    source = expression.strip().translate(READABLE)
    if len(source) > MAX_SOURCE:
        raise ToolError(f"the expression is longer than {MAX_SOURCE} characters")
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "nested too deeply"
        raise ToolError(f"{expression!r:.100} is not an arithmetic expression: {reason}") from None
    calculation = _Calculation(source)
    try:
        value = calculation.value(tree.body)
    except RecursionError:
        raise ToolError("the expression is nested too deeply") from None
    return ("" if calculation.exact else "about ") + _show(value)


@define
class _Calculation:
    source: str
    exact: bool = True

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
        return _bounded(Decimal(written))

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
            self.exact = self.exact and not context.flags[decimal.Inexact]
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
        raise ToolError(f"a value on the way has more than {MAX_DIGITS} digits, or divides by zero")
    return value


def _power(base: Decimal, exponent: Decimal) -> Decimal:
    """`base ** exponent`, refused before it is tried if the result could not be written down."""
    if base.is_zero() and exponent < 0:
        raise ToolError("zero has no negative power")
    if base and abs(_log10(abs(base)) * exponent) > MAX_DIGITS:
        raise ToolError(f"the power has more than {MAX_DIGITS} digits")
    context = decimal.getcontext()
    if exponent != exponent.to_integral_value() or exponent < 0:
        context.prec = PRECISION  # a power that is not whole is a logarithm: slow, and not exact
    return base**exponent


def _log10(value: Decimal) -> Decimal:
    """Good enough to tell how many digits a power will have, and quick for any value."""
    return value.log10(decimal.Context(prec=9))


def _divide(left: Decimal, right: Decimal) -> Decimal:
    if right.is_zero():
        raise ToolError("division by zero")
    decimal.getcontext().prec = PRECISION
    return left / right


def _floor_divide(left: Decimal, right: Decimal) -> Decimal:
    if right.is_zero():
        raise ToolError("division by zero")
    quotient, remainder = divmod(left, right)
    return quotient - 1 if remainder and (remainder < 0) != (right < 0) else quotient


def _modulo(left: Decimal, right: Decimal) -> Decimal:
    return left - right * _floor_divide(left, right)


def _round(value: Decimal, places: Decimal = Decimal(0)) -> Decimal:
    if places != places.to_integral_value() or abs(places) > PRECISION:
        raise ToolError(f"round to a whole number of places, {PRECISION} at most")
    return value.quantize(Decimal(1).scaleb(-int(places)), decimal.ROUND_HALF_EVEN)


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
    "ln": (1, 1, Decimal.ln),
    "log10": (1, 1, Decimal.log10),
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
    if value == value.to_integral_value():
        return f"{value.quantize(Decimal(1), context=EXACT):f}"
    shortest = value.normalize(EXACT)
    return f"{shortest:f}" if abs(shortest.adjusted()) <= PRECISION else str(shortest)
