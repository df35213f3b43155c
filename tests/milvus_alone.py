"""Run a Milvus in a network of its own, since it listens everywhere, and forward it to a Unix socket.

    python -m tests.milvus_alone FOLDER

It writes the number of the server's process when that answers, and ends it when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

NEW_USERS, NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
SET_FLAGS, UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP
BLOCK = 1 << 16


def leave_the_network() -> None:
    """Be in a network that has only a loopback of its own.

    Raises:
        OSError: the system does not allow that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK if os.geteuid() == 0 else NEW_USERS | NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "no network of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
    writer.close()


async def forward(path: Path, port: int, server: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # it was killed
            writer.close()
            return
        await asyncio.gather(pump(reader, to), pump(there, writer))

    await asyncio.start_unix_server(connected, path)
    sys.stdout.write(f"{server}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    folder = Path(sys.argv[1])
    leave_the_network()
    from milvus import MilvusServer, MilvusServerConfig

    server = MilvusServer(MilvusServerConfig())
    server.set_base_dir(str(folder / "data"))
    server.start()
    try:
        asyncio.run(forward(folder / "socket", server.listen_port, server.server_proc.pid))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
