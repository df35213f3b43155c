"""Patterns of files to leave out, in gitignore's grammar (https://git-scm.com/docs/gitignore).

The library pathspec translates a pattern to a regular expression. Patterns may come from anyone, so these expressions
are rewritten to be matched in linear time: what stands between two wildcards is taken where it is found first, for
good (atomic groups), as any later place would serve no better.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

MOST_LENGTH = 1000  # characters of a pattern: more than a file name has
MOST_PATTERNS = 1000  # of one file: each is compared with each name
STAR, FOLDERS_BEFORE, FOLDERS_BETWEEN = (
    "[^/]*",
    "^(?:.+/)?",
    "(?:/.+)?",
)  # as pathspec writes ``*``, ``**/`` and ``/**``
ONE = r"(?:\\.|\[\^?\]?[^\]]*\](?!\*)|[^\\\[\]()/*?$^])"  # one character, or one of a class
CLASS = re.compile(r"\\.|\[([!^]?\]?[^\]]*)\]", re.DOTALL)


class Pattern(NamedTuple):
    """``expression`` matches the whole path of what it names, that of a folder with a slash at its end."""

    expression: re.Pattern[str]
    leaves_out: bool


class BadPattern(ValueError):
    """A pattern that means nothing, or that is not supported."""


class Fault(NamedTuple):
    """What is wrong with the pattern of line ``number``, from 1."""

    number: int
    reason: str


def parsed(lines: Iterable[str]) -> tuple[tuple[Pattern, ...], list[Fault]]:
    """The patterns of ``lines``, and the faults of those that are none. Each costs only itself."""
    patterns: list[Pattern] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 1):
        if len(patterns) == MOST_PATTERNS:
            faults.append(Fault(number, f"only the first {MOST_PATTERNS:,} patterns hold"))
            break
        try:
            patterns += _parsed(line)
        except BadPattern as error:
            faults.append(Fault(number, str(error)))
    return tuple(patterns), faults


def verdict(patterns: Sequence[Pattern], path: str) -> bool | None:
    """Whether a path is left out: the last pattern that matches it says so. None if no pattern matches."""
    for pattern in reversed(patterns):
        if pattern.expression.fullmatch(path):
            return pattern.leaves_out
    return None


def _parsed(line: str) -> Iterator[Pattern]:
    if len(line) > MOST_LENGTH:
        raise BadPattern(f"a pattern of more than {MOST_LENGTH:,} characters")
    if line.startswith("#") or not line.strip():
        return
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # not imported for searching, which starts sooner

    _check_classes(line)
    try:
        expression, leaves_out = GitIgnoreSpecPattern.pattern_to_regex(_with_a_folder(line))
        if expression is None or leaves_out is None:
            raise BadPattern("a bracket is not closed" if "[" in line else "it matches nothing")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield Pattern(re.compile(_exact(expression), re.DOTALL), leaves_out)
    except BadPattern:
        raise
    except (ValueError, re.error, FutureWarning) as error:
        raise BadPattern("not a pattern") from error


def _with_a_folder(line: str) -> str:
    """``a/**/`` as ``a/**/*/``, which is the same to git: the folders inside ``a``. pathspec takes it for ``a/``."""
    bare = line.rstrip(" ")
    return f"{bare}*/" if bare.endswith("/**/") else line


def _check_classes(line: str) -> None:
    """Refuse classes of characters that pathspec reads in another way than git."""
    for match in CLASS.finditer(line):
        inside = match[1] or ""
        if "[:" in inside or "\\" in inside:
            raise BadPattern("classes such as [[:alpha:]] and escapes within brackets are not supported")


def _exact(expression: str) -> str:
    """pathspec's expression, made to match the whole path of an entry, and not those below it, in linear time."""
    if not expression.startswith("^"):  # of everything, of all folders, of all that is in a folder
        return {".": ".+", "/": ".+/.+"}.get(expression, ".+/")
    if expression.endswith("/"):  # ``folder/**``: what is inside
        expression += ".+"
    *befores, last = _without_slashes(_linear(expression)).split(FOLDERS_BETWEEN)
    parts = [*(f"{part}(?=/)" for part in befores), last]
    lead = "(?:[^/]+/)*?" if parts[0].startswith(FOLDERS_BEFORE) else ""
    parts[0] = lead + parts[0].removeprefix(FOLDERS_BEFORE).removeprefix("^")
    parts[1:] = [f"(?:/[^/]+)*?{part}" for part in parts[1:]]
    return "".join([*(f"(?>{part})" for part in parts[:-1]), parts[-1]])


def _linear(expression: str) -> str:
    """Each ``*`` but the last of a name ends where what follows it is found first."""
    while 2 * STAR in expression:
        expression = expression.replace(2 * STAR, STAR)
    star = re.escape(STAR)
    return re.sub(rf"{star}({ONE}+)(?={star})", rf"(?>{STAR}?\g<1>)", expression)


def _without_slashes(expression: str) -> str:
    """No class of characters holds the slash, also not ``[!a]``, nor a range over it."""
    return re.sub(
        r"\\.|\[\^?\]?[^\]]*\]",
        lambda one: one[0] if one[0][0] == "\\" or one[0] == "[^/]" else f"(?!/){one[0]}",
        expression,
        flags=re.DOTALL,
    )
