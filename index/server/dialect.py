"""What the catalog asks, in PostgreSQL's words, with SQLite's meaning: the same filters let the same pictures pass.

* Paths are bytes. They are compared as text of Latin-1, which has a letter for each byte; what a pattern's ``?`` stands
  for is then one to four letters.
* LIKE takes no regard of the case of ASCII letters, and of no others.
* A division of whole numbers is one of float64.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Dialect, LargeBinary, Text, TypeDecorator
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg

from index.local.filters import ESCAPE
from index.local.functions import EARTH_KM

ONE = r"(?:[\u0001-\u00bf]|[\u00c0-\u00ff][\u0080-\u00bf]*)"  # a character in UTF-8, or a byte of none
PART = re.compile(r"\[\[\]|\*|\?|[^*?]", re.DOTALL)
SPECIAL = re.compile(r"[^A-Za-z0-9_/]")


class Glob(TypeDecorator[str]):
    """A pattern in the form of SQLite's GLOB, given to PostgreSQL as a regular expression on Latin-1."""

    impl, cache_ok = Text, True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return expression_of(value)


def expression_of(glob: str) -> str:
    """The regular expression that matches, as a whole, the bytes that ``glob`` matches.

    >>> expression_of("a/[[]b]*.jpg")
    '^(?:a/\\\\u005bb\\\\u005d.*\\\\u002ejpg)$'
    """
    parts = PART.findall(glob)
    return f"^(?:{''.join(map(_part, parts))})$"


def _part(part: str) -> str:
    match part:
        case "*":
            return ".*"
        case "?":
            return ONE
    plain = part[1] if part == "[[]" else part
    letters = plain.encode("utf-8", "surrogateescape").decode("latin-1")
    return "".join(f"\\u{ord(one):04x}" if SPECIAL.match(one) else one for one in letters)


class Compiler(PGCompiler_psycopg):
    """SQLAlchemy's compiler, with the functions and operators that the catalog names as SQLite does."""

    def visit_json_each_func(self, function: Any, **more: Any) -> str:
        (argument,) = function.clauses
        text = self.process(argument, **more)
        return f"(SELECT CAST(value AS BIGINT) AS value FROM json_array_elements_text(CAST({text} AS JSON)))"

    def visit_json_group_array_func(self, function: Any, **more: Any) -> str:
        return f"CAST(coalesce(json_agg{self.function_argspec(function, **more)}, '[]') AS TEXT)"

    def visit_max_func(self, function: Any, **more: Any) -> str:
        """Of several arguments, none of which is NULL, SQLite's max is the greatest."""
        name = "greatest" if len(function.clauses) > 1 else "max"
        return name + self.function_argspec(function, **more)

    def visit_latent_ln_func(self, function: Any, **more: Any) -> str:
        return "ln" + self.function_argspec(function, **more)

    def visit_latent_km_func(self, function: Any, **more: Any) -> str:
        """``index.local.functions.apart_km``."""
        north, east, to_north, to_east = (
            f"CAST({self.process(one, **more)} AS DOUBLE PRECISION)" for one in function.clauses
        )
        half = (
            f"power(sin((radians({to_north}) - radians({north})) / 2), 2) + cos(radians({north})) "
            f"* cos(radians({to_north})) * power(sin(radians({to_east} - {east}) / 2), 2)"
        )
        return f"({2 * EARTH_KM!r} * asin(least(1.0, sqrt({half}))))"

    def visit_cast(self, cast: Any, **more: Any) -> str:
        if isinstance(cast.clause.type, LargeBinary) and isinstance(cast.type, Text):
            return f"convert_from({self.process(cast.clause, **more)}, 'LATIN1')"
        return str(super().visit_cast(cast, **more))  # type: ignore[no-untyped-call]

    def visit_custom_op_binary(self, element: Any, operator: Any, **more: Any) -> str:
        if operator.opstring != "GLOB":
            return str(super().visit_custom_op_binary(element, operator, **more))  # type: ignore[no-untyped-call]
        right = element.right._with_binary_element_type(Glob())  # the same parameter, converted when it is given
        return f"{self.process(element.left, **more)} ~ {self.process(right, **more)}"

    def visit_like_op_binary(self, binary: Any, operator: Any, **more: Any) -> str:
        left, right = (f'lower({self.process(one, **more)} COLLATE "C")' for one in (binary.left, binary.right))
        return f"{left} LIKE {right} ESCAPE '{ESCAPE}'"

    def visit_truediv_binary(self, binary: Any, operator: Any, **more: Any) -> str:
        left, right = (f"CAST({self.process(one, **more)} AS DOUBLE PRECISION)" for one in (binary.left, binary.right))
        return f"{left} / {right}"
