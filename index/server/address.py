"""The address of an index on a server, in libpq's form: postgresql://user@host:port/database?sslmode=verify-full.

It never holds a secret, so whatever shows an address shows none. Passwords come by libpq's own means: PGPASSWORD, a
password file, a service file, a certificate.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from index.errors import AddressUnknown

SERVER = re.compile(r"postgres(ql)?://", re.IGNORECASE)
SECRET = re.compile(r"pass(word|phrase)$|secret|sslpassword", re.IGNORECASE)


def is_server(address: object) -> bool:
    """Whether an address is one of a server."""
    return isinstance(address, str) and SERVER.match(address) is not None


def checked(address: str) -> str:
    """``address`` in its one spelling.

    Raises:
        AddressUnknown: it holds a password, or is none that libpq takes. The message does not quote it.
    """
    address = "postgresql://" + address[address.index("://") + 3 :]
    try:
        parts = urlsplit(address)
        has_secret = parts.password is not None
        asked = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        raise AddressUnknown("the address of the server cannot be parsed", code="no_server_address") from None
    if has_secret or any(map(SECRET.search, asked)):
        raise AddressUnknown(
            "the address of the server holds a password, which lists of processes and histories would show; give it "
            "in a password file (~/.pgpass) or as PGPASSWORD in the environment",
            code="password_in_address",
        )
    if parts.fragment or not address.isprintable():
        raise AddressUnknown("the address of the server cannot be parsed", code="no_server_address")
    return address
