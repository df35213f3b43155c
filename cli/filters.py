"""Options that filter pictures, shared by commands."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli.console import Command, counted, say

if TYPE_CHECKING:
    from index.grammar import Condition
    from index.where import Where
    from retrieval import Searcher


class Filters(NamedTuple):
    """What the options say."""

    where: tuple[str, ...] = ()
    after: str | None = None
    before: str | None = None
    folders: tuple[str, ...] = ()
    near: str | None = None
    text: str | None = None

    def conditions(self, searcher: Searcher) -> list[Condition]:
        """The conditions that every picture must meet.

        Raises:
            click.UsageError: one cannot be read; it shows where.
        """
        from index.grammar import Condition, FilterError, parse
        from retrieval.filters import conditions, with_words

        found = list(self._folders())
        try:
            for text in self.where:
                found += conditions(searcher, text)
            for option, value in (("--after", self.after), ("--before", self.before), ("--near", self.near)):
                found += parse(WORDS[option].format(_quoted(value, option))) if value is not None else []
            if self.text is not None:
                found.append(Condition(f"--text {self.text}", with_words(searcher, self.text)))
        except FilterError as error:
            mark = " " * (error.column - 1) + "^"
            raise click.UsageError(f"{error.message}\n  {error.text}\n  {mark}") from error
        return found

    def data(self, searcher: Searcher) -> Where | None:
        """The conditions in one, None if there are none. Raises as ``conditions``."""
        return together(self.conditions(searcher))

    def _folders(self) -> Iterator[Condition]:
        """A folder of that path, or folders of that name in their roots."""
        from index.grammar import Condition
        from index.roots import is_url
        from index.where import AnyOf, InFolder, Matches
        from retrieval.roots.opening import address_of

        for folder in self.folders:
            here = InFolder(address_of(folder))
            inside = os.path.normpath(folder)
            is_plain = not (
                os.path.isabs(folder) or is_url(folder) or inside == os.curdir or inside.startswith(os.pardir)
            )
            terms = (here, Matches("folder", inside)) if is_plain else (here,)
            yield Condition(f"--in {folder}", AnyOf(terms))


WORDS = {"--after": "taken >= {}", "--before": "taken < {}", "--near": "place near {}"}


def _quoted(text: str, option: str) -> str:
    if "'" in text:
        raise click.UsageError(f"{option} {text!r} holds a quote")
    return f"'{text}'"


def together(conditions: Sequence[Condition]) -> Where | None:
    from index.where import AllOf

    return AllOf(tuple(one.where for one in conditions)) if conditions else None


def filter_options(command: Command) -> Command:
    """Options that become the one argument ``filters``."""

    @click.option(
        "--where", multiple=True, metavar="FILTER", help="Only pictures that pass, such as 'width >= 2000'. Repeatable."
    )
    @click.option("--after", metavar="DATE", help="Only pictures taken on DATE or later: 2024, 2024-06, 2024-06-15.")
    @click.option("--before", metavar="DATE", help="Only pictures taken before DATE.")
    @click.option(
        "--in", "in_folders", multiple=True, metavar="FOLDER", help="Only pictures in FOLDER or below. Repeatable."
    )
    @click.option("--near", metavar="LAT,LON,KM", help="Only pictures taken within a distance: 48.2,16.4,5km.")
    @click.option(
        "--text",
        metavar="WORDS",
        help="Only pictures with these words in path, title or keywords. It reads words about pictures, not pictures.",
    )
    @functools.wraps(command)
    def wrapped(
        *words: Any,
        where: tuple[str, ...],
        after: str | None,
        before: str | None,
        in_folders: tuple[str, ...],
        near: str | None,
        text: str | None,
        **options: Any,
    ) -> Any:
        return command(*words, filters=Filters(where, after, before, in_folders, near, text), **options)

    return wrapped


def say_what_left_nothing(searcher: Searcher, conditions: Sequence[Condition]) -> bool:
    """Which of the conditions let no picture pass, or how many each of them does. False if some picture passes all."""
    from index.where import AllOf

    if not conditions or searcher.count(AllOf(tuple(one.where for one in conditions))):
        return False
    counts = [(one.text, searcher.count(one.where)) for one in conditions]
    alone = [text for text, count in counts if not count]
    if alone:
        say(f"No picture of {len(searcher):,} passes: {', '.join(alone)}")
    else:
        each = ", ".join(f"{text} ({count:,})" for text, count in counts)
        say(f"No picture of {len(searcher):,} passes all of: {each}")
    return True


def filtered(searcher: Searcher, filters: Filters) -> Where | None:
    """The filter of a command that needs pictures.

    Raises:
        click.ClickException: no picture passes.
    """
    conditions = filters.conditions(searcher)
    where = together(conditions)
    if where is not None:
        count = searcher.count(where)
        if not count:
            say_what_left_nothing(searcher, conditions)
            raise click.ClickException("nothing is left to do")
        say(f"{counted(count, 'picture')} of {len(searcher):,} pass")
    return where
