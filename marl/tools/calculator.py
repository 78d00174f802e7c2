"""Calculator tool: parses arithmetic as a syntax tree; evaluates only numbers and seven operators."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from typing import Final

from marl.tools.tool import ToolError

BINARY: Final[dict[type[ast.operator], Callable[..., float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
UNARY: Final[dict[type[ast.unaryop], Callable[[float], float]]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
MOST_BITS: Final = 512
LONGEST: Final = 200


def calculator(expression: str) -> str:
    """Calculate with numbers, + - * / // % ** and parentheses.

    Args:
        expression: such as 17 * 23
    """
    if len(expression) > LONGEST:
        raise ToolError(f"an expression has at most {LONGEST} characters")
    try:
        plain = expression.replace("^", "**").replace("×", "*").replace("÷", "/").strip(" =?.`")
        with warnings.catch_warnings(action="ignore"):  # warnings about text that is almost Python
            tree = ast.parse(plain, mode="eval")
        value = _value(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolError(f"{expression!r} is not arithmetic") from None
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("the result is too large") from None
    if isinstance(value, complex):
        raise ToolError("the result is not a real number")
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
        return UNARY[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and (abs(right) > MOST_BITS or _bits(left) * abs(right) > MOST_BITS):
            raise OverflowError
        return _bounded(BINARY[type(node.op)](left, right))
    raise ValueError


def _bits(value: float) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _bounded(value: float) -> float:
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise OverflowError
    return value
