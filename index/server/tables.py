"""The tables that an index on a server has beside the catalog's own: what a folder holds in files."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text

beside = MetaData()

settings = Table(  # by name: the index's identity, its budget, what it leaves out, the files of its model
    "settings",
    beside,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),  # JSON
    Column("checksum", LargeBinary, nullable=False),
)

model_parts = Table(  # the files of the model's copy, in parts
    "model_parts",
    beside,
    Column("name", Text, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)
