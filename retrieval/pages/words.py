"""What is said of copies on terminals and pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrieval.copies.plan import Plan

WORDS = {
    "bytes": "the same bytes",
    "pixels": "the same pixels",
    "scaled": "saved again or scaled",
    "edited": "edited",
    "frame": "only the first frame is the same",
    "series": "other shots of one moment",
    "variant": "one layout, other content",
}
MEANS = {
    "bytes": "The files are equal, byte by byte.",
    "pixels": "The files show exactly the same pixels, stored in another way.",
    "scaled": "The same picture, saved again or in another size. Fine detail may have gone with it.",
    "edited": "The same picture, cropped, turned, toned or written on. Look at what was changed.",
    "frame": "The first frames are alike, but a file holds more: other frames or pages, or a camera's raw values.",
    "series": "Shots taken shortly after one another. They look alike, and each is a picture of its own.",
    "variant": "Pictures in one layout with other content, such as forms, slides and screenshots. These are no copies.",
}
DIFFERENCES = {"part": "a part differs", "frame": "another frame", "tone": "another tone", "colour": "another colour"}


def differences(differs: Sequence[str]) -> str:
    """What differs, as a list of words."""
    return ", ".join(DIFFERENCES.get(word, word) for word in differs)


def wrong_pairs(plan: Plan) -> str:
    """How many pairs of a plan are expected to be no copies, as a sentence."""
    expected = plan.expected_false_pairs
    if expected is None:
        return "There are too few pictures to estimate how many pairs are wrong."
    few = "fewer than 0.01" if expected < 0.01 else f"{expected:.2g}"
    return f"Wrong pairs to be expected: {few}, by {plan.estimated_from:,} pairs of this collection that are no copies."
