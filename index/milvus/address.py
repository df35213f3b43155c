"""Where codes are searched: the address of a Milvus and the name of a collection there, as an index keeps them.

* ``milvus://host:19530``, or ``milvus+tls://host:19530`` with TLS;
* ``milvus+unix:///run/milvus.sock``: a Unix socket;
* ``milvus:///home/me/vectors.db``: Milvus Lite, which runs in this process and keeps its files there.

An address never holds a secret, so whatever shows it shows none. A token comes by MILVUS_TOKEN in the environment.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from index.errors import AddressUnknown

FAISS = "faiss"  # the word for FAISS caches on the reader's machine
SCHEMES = {"milvus": "http", "milvus+tls": "https", "milvus+unix": "unix"}
PORT = 19530
HOST = re.compile(r"[A-Za-z0-9._:-]+")
COLLECTION = re.compile(r"latent_[0-9a-f]{32}")
MOST_CHARACTERS = 1000


def checked(address: str) -> str:
    """``address``, if it is one of a Milvus.

    Raises:
        AddressUnknown: it is none, or holds a secret. The message does not quote one.
    """
    uri_of(address)
    return address


def uri_of(address: str) -> str:
    """What pymilvus calls ``address``. Raises as ``checked``."""
    try:
        parts = urlsplit(address)
        secret, host, port = "@" in parts.netloc or bool(parts.query), parts.hostname, parts.port
    except ValueError:
        raise _unknown() from None
    if secret:
        raise AddressUnknown(
            "the address of Milvus holds a user or options; it is only host and port, and a token is given as "
            "MILVUS_TOKEN in the environment",
            code="secret_in_address",
        )
    is_plain = address.isprintable() and len(address) <= MOST_CHARACTERS and not parts.fragment
    if parts.scheme not in SCHEMES or not is_plain:
        raise _unknown()
    if host and HOST.fullmatch(host) and parts.path in ("", "/") and parts.scheme != "milvus+unix":
        shown = f"[{host}]" if ":" in host else host
        return f"{SCHEMES[parts.scheme]}://{shown}:{PORT if port is None else port}"
    is_file = not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1
    if is_file and parts.scheme == "milvus+unix":
        return f"unix:{parts.path}"
    if is_file and parts.scheme == "milvus" and parts.path.endswith(".db"):
        return parts.path
    raise _unknown()


def _unknown() -> AddressUnknown:
    return AddressUnknown(
        "codes are searched by faiss, or by a Milvus at milvus://HOST:19530, milvus+tls://HOST:19530, "
        "milvus+unix:///SOCKET or milvus:///FILE.db",
        code="no_vectors_address",
    )


@dataclass(frozen=True)
class Vectors:
    """An address, and the name of this index's collections there: each place that codes were given to has its own."""

    address: str
    collection: str

    @classmethod
    def at(cls, address: str) -> Self:
        """A new name at ``address``. Raises AddressUnknown: it is none of a Milvus."""
        return cls(checked(address), f"latent_{secrets.token_hex(16)}")

    @classmethod
    def read(cls, kept: Any) -> Self | None:
        """What was kept; None if it could not have been: then FAISS searches, as only what is derived depends on it."""
        try:
            address, collection = kept["address"], kept["collection"]
            if COLLECTION.fullmatch(collection) is None:
                return None
            return cls(checked(address), collection)
        except (TypeError, KeyError, AttributeError, AddressUnknown):
            return None

    def kept(self) -> dict[str, str]:
        return asdict(self)
