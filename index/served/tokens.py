"""The tokens of served indexes: LATENT_TOKEN for all that have none of their own, and a file with one for each.

The file is LATENT_TOKENS, or ``tokens`` in this user's data folder. A line names an address and the token, or the token
file that ``latent serve --token-file`` made: ``http://127.0.0.1:8765 /home/me/token``. Only this user may read it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from index.errors import AddressUnknown
from index.served.address import checked, is_served
from index.trust import user_folder

TOKEN, TOKENS, NAME = "LATENT_TOKEN", "LATENT_TOKENS", "tokens"
MOST_BYTES = 1 << 20
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def token_for(address: str) -> str | None:
    """The token for the served index at ``address``; None if this user has none.

    Raises:
        AddressUnknown: a file of tokens cannot be read, or others may read it.
    """
    own = _listed().get(address)
    if own is None:
        own = os.environ.get(TOKEN, "").strip() or None
    elif os.path.isabs(own):
        own = _read(Path(own)).strip()
    if own is not None and not (own.isascii() and own.isprintable() and " " not in own):
        raise AddressUnknown(f"the token for {address} holds spaces or strange characters", code="bad_token")
    return own


def _listed() -> dict[str, str]:
    """The second word of each line, by the address that is the first."""
    named, folder = os.environ.get(TOKENS), user_folder()
    path = Path(named) if named else folder / NAME if folder else None
    if path is None or not (named or path.exists()):
        return {}
    tokens = dict[str, str]()
    for number, line in enumerate(_read(path).splitlines(), 1):
        if not (words := line.split(maxsplit=1)) or line.lstrip().startswith("#"):
            continue
        if len(words) != 2 or not is_served(words[0]):
            raise AddressUnknown(f"{path}, line {number}: it must be an address and a token", code="bad_token")
        tokens[checked(words[0])] = words[1].strip()
    return tokens


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            if hasattr(os, "geteuid") and (facts.st_mode & OTHERS or facts.st_uid not in (os.geteuid(), 0)):
                raise AddressUnknown(f"{path} holds tokens, so only you may read it (chmod 600)", code="bad_token")
            return file.read(MOST_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise AddressUnknown(f"the file of tokens {path} cannot be read: {error}", code="bad_token") from error
