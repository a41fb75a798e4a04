"""Arithmetic, exact as long as it can be: fractions, not binary floating point. Reads an expression; runs no code.

+ - * / // % ** ^ ( )   sqrt abs round floor ceil min max log ln exp sin cos tan   pi e   20% of 50   1,000
"""

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from luthier.serving.tools.tool import Tool, ToolFailed

_MAX_CHARACTERS = 300
_MAX_DIGITS = 1_000
_SIGNIFICANT_DIGITS = 12
_Number = Fraction | float

_OPERATORS: dict[type[ast.operator], Callable[[_Number, _Number], _Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., _Number]] = {
    "abs": abs,
    "min": min,
    "max": max,
    "round": lambda x, places=0: round(Fraction(x), int(places)),
    "floor": lambda x: Fraction(math.floor(x)),
    "ceil": lambda x: Fraction(math.ceil(x)),
    "sqrt": lambda x: _root(x),
    "log": math.log10,
    "ln": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}
_WORDS = (
    (re.compile(r"(\d+(?:\.\d+)?)\s*%\s*of\b"), r"\1/100*"),
    (re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])"), lambda match: match[0].replace(",", "")),
    (re.compile(r"[×·]"), "*"),
    (re.compile(r"[÷:]"), "/"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\^"), "**"),
    (re.compile(r"[=?\s]+$"), ""),
)


def calculate(expression: str) -> str:
    """The value, as people write it. Raises ToolFailed."""
    if len(expression) > _MAX_CHARACTERS:
        raise ToolFailed(f"expected at most {_MAX_CHARACTERS} characters")
    text = expression
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    try:
        return shown(_value(ast.parse(text.strip(), mode="eval").body))
    except ZeroDivisionError:
        raise ToolFailed("division by zero") from None
    except OverflowError:
        raise ToolFailed("the number is too large") from None
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise ToolFailed(f"{expression[:60]!r} is no arithmetic that I can do") from error


def _value(node: ast.expr) -> _Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _OPERATORS:
            return _checked(_OPERATORS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _checked(_FUNCTIONS[node.func.id](*map(_value, node.args)))
    raise ValueError(ast.dump(node))


def _power(base: _Number, exponent: _Number) -> _Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        digits = max(len(str(base.numerator)), len(str(base.denominator))) * abs(exponent.numerator)
        if digits > _MAX_DIGITS:
            raise OverflowError
        return Fraction(base ** int(exponent))
    found: float | complex = float(base) ** float(exponent)
    if isinstance(found, complex):
        raise ValueError("not a real number")
    return found


def _root(x: _Number) -> _Number:
    if isinstance(x, Fraction) and x >= 0:
        over, under = math.isqrt(x.numerator), math.isqrt(x.denominator)
        if (over * over, under * under) == (x.numerator, x.denominator):
            return Fraction(over, under)
    return math.sqrt(x)


def _checked(number: _Number) -> _Number:
    if isinstance(number, int):
        number = Fraction(number)
    if isinstance(number, Fraction):
        if max(abs(number.numerator), number.denominator).bit_length() > _MAX_DIGITS * 10 // 3:
            raise OverflowError
    elif not math.isfinite(number):
        raise OverflowError
    return number


def shown(number: _Number) -> str:
    """Whole numbers whole, others with 12 significant digits at most."""
    if isinstance(number, Fraction) and number.denominator == 1:
        return str(number.numerator)
    value = float(number)
    text = f"{value:.{_SIGNIFICANT_DIGITS}g}"
    if "e" not in text:
        return text
    return (
        text
        if abs(value) >= 1
        else f"{value:.{_SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(value)))}f}".rstrip("0")
    )


CALCULATOR = Tool("calculator", "arithmetic", "(112 + 122) / 2", calculate)
