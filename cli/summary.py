"""What a build or an update did, in words, and how the index is searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.console import counted, say, shown_path, size, tell
from retrieval.text import printable

if TYPE_CHECKING:
    from retrieval import Budget, Library, Status, Summary

REASONS_SHOWN = 12
LINKS_SHOWN = 3
FAULTS_SHOWN = 10


def searching(facts: Status) -> str:
    """The search structure in words, its memory, its time per query, its recall."""
    if not facts.search_memory_bytes and "Milvus" in facts.search:  # nothing is known of it
        return facts.search
    time_ms = 1000 * facts.search_latency_s
    cost = f"{size(facts.search_memory_bytes)}, {f'about {time_ms:.1f}' if time_ms >= 0.1 else 'under 0.1'} ms a query"
    found = f"finds {facts.search_recall:.1%} of the ten nearest" if facts.search != "exact" else "finds all"
    return f"{facts.search} ({_layout(facts.search)}): {cost}, {found}"


def _layout(search: str) -> str:
    """What the name of a search structure means."""
    if search == "exact":
        return "every code is compared"
    if "Milvus" in search:
        return "it proposes candidates, codes in the catalog rank them"
    part = "codes of the nearest lists" if "lists" in search else "codes"
    return f"{part} in 32 bytes propose candidates, whole codes rank them"


def _within(budget: Budget | None) -> str:
    """The limits that were just set."""
    if budget is None:
        return ""
    memory = "any memory" if budget.memory_bytes is None else f"at most {size(budget.memory_bytes)}"
    latency = "any time" if budget.latency_s is None else f"at most {1000 * budget.latency_s:g} ms"
    return f"; asked for: {memory}, {latency}"


def tell_summary(library: Library, summary: Summary, seconds: float, budget: Budget | None = None) -> None:
    words = ("added", "changed", "renamed", "removed", "unchanged", "skipped")
    tell("  ".join(f"{word} {getattr(summary, word):,}" for word in words))
    for reason, count in summary.reasons.most_common(REASONS_SHOWN):
        tell(f"  skipped {count:,}: {printable(reason)} ({_some(summary.examples.get(reason, []), count)})")
    if len(summary.reasons) > REASONS_SHOWN:
        tell(f"  and {len(summary.reasons) - REASONS_SHOWN} other reasons; see: latent index status --skipped")
    _tell_what_is_not_there(summary)
    if summary.skipped:
        say("Skipped files are read again when they change, or with --retry.")
    for folder in summary.missing_folders:
        shown = shown_path(folder)
        if why := summary.why_missing.get(folder):
            say(f"Warning: {printable(why)}; its pictures are kept as they were.")
            continue
        say(f"Warning: {shown} is not there; its pictures are kept. To remove them: latent index remove {shown}")
    for folder in summary.unreadable_folders:
        say(f"Warning: no permission to list {shown_path(folder)}; its pictures are kept.")
    if outside := summary.links_outside:
        shown = _some(outside[:LINKS_SHOWN], len(outside))
        say(f"Not followed, since they lead out of their folder: {counted(len(outside), 'link')} ({shown})")
        say("To follow such links: --follow-links")
    found = len(library)
    rate = f", {summary.encoded / seconds:,.0f} pictures/s" if summary.encoded else ""
    tell(f"{counted(found, 'picture')} in {shown_path(library.index.address)} ({seconds:.1f} s{rate})")
    facts = library.status()
    if facts.search != "exact" or budget is not None:
        tell(f"search: {searching(facts)}" + _within(budget))
    if not facts.search_fits:
        say("Warning: no search structure fits --memory and --latency for so many pictures; the nearest is used.")
    if not found:
        say("No pictures were found. Is this the right folder?")


def _tell_what_is_not_there(summary: Summary) -> None:
    """Other files, what was left out, and what is wrong with patterns."""
    if summary.other_files:
        tell(f"other files {summary.other_files:,}: {kinds_of_files(summary.other_kinds)}")
    if videos := summary.other_kinds["video"]:
        say(f"{counted(videos, 'video')} cannot be indexed; single frames that are saved as pictures can.")
    left_out = summary.left_out
    if folders := left_out.system_folders:
        names = ", ".join(f"{count:,} {name}" for name, count in folders.most_common())
        tell(f"left out {counted(folders.total(), 'system folder')}: {names}")
    if left_out.by_patterns:
        tell(f"left out files and folders by --exclude and .latentignore: {left_out.by_patterns:,}")
    for fault in left_out.faults[:FAULTS_SHOWN]:
        say(f"Warning: {shown_path(fault)}; the rest holds.")
    if len(left_out.faults) > FAULTS_SHOWN:
        say(f"Warning: and more of these, {len(left_out.faults)} at least.")


def _some(paths: list[str], count: int) -> str:
    return ", ".join(map(shown_path, paths)) + (", ..." if count > len(paths) else "")


def kinds_of_files(kinds: Mapping[str, int]) -> str:
    most_first = sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} unknown" if kind == "unknown" else counted(count, kind) for kind, count in most_first)


def warn_of_wrong_model(library: Library) -> None:
    """Say so if most of a collection is unlike what its model learnt."""
    from retrieval.explore.fitting import MOST, fitting_model, share_unlike

    share = share_unlike(library)
    if share is None or share <= MOST:
        return
    name = printable(library.model.name)
    say(f"Warning: most of these pictures ({share:.0%}) are unlike what {name} learnt; their codes mean little.")
    if fitting := fitting_model(library, share):
        say(f"{fitting} fits more: latent index build PHOTOS --index DIR --model {fitting}")
    else:
        say("No shipped model fits more; train one of your own: latent train PHOTOS -o RUN")
