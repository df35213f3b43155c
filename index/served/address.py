"""The address of an index that ``latent serve`` serves: http://host:port or https://host:port.

It holds no secret: tokens come from files and from the environment (``index.served.tokens``). What such an index tells
of a picture begins with its address, and names no file of this machine.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from index.errors import AddressUnknown

SERVED = re.compile(r"https?://", re.IGNORECASE)


def is_served(address: object) -> bool:
    """Whether an address is that of a served index, or a path is one that such an index told."""
    return isinstance(address, str) and SERVED.match(address) is not None


def checked(address: str) -> str:
    """``address`` in its one spelling.

    Raises:
        AddressUnknown: it holds a password, or is none. The message does not quote it.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
        has_secret = parts.username is not None or parts.password is not None
    except ValueError:
        host, port, has_secret = None, None, False
    if has_secret:
        raise AddressUnknown(
            "the address of a served index holds a password, which lists of processes and histories would show; its "
            "token belongs into LATENT_TOKEN or into a file of tokens",
            code="password_in_address",
        )
    strange = not address.isascii() or not address.isprintable() or " " in address
    if not host or parts.query or parts.fragment or strange:
        raise AddressUnknown("a served index has an address such as http://127.0.0.1:8765", code="no_server_address")
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme.lower()}://{named}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
