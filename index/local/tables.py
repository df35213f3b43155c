"""The catalog's tables.

``since`` is the schema that brought a table or a column, ``default`` a column's default as SQLite tells it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

SCHEMA = 5  # the result of index.local.migrations

tables = MetaData()


class _Truth(TypeDecorator[bool]):
    """A truth as a number, as SQLite has it: filters compare it with numbers."""

    impl, cache_ok = SmallInteger, True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


# Of SQLite the first type is right: it stores 64 bits, truths as numbers, and compares text by its bytes.
Whole = Integer().with_variant(BigInteger(), "postgresql")
Truth = Boolean().with_variant(_Truth(), "postgresql")
Name = Text().with_variant(Text(collation="C"), "postgresql")


def _checksum() -> Column[bytes]:
    """Eight bytes that ``index.local.sums`` computes of the rest of the row: what a disk has damaged is no answer."""
    return Column("checksum", LargeBinary, info={"since": 3})


meta = Table(
    "meta",
    tables,
    Column("id", Whole, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("schema", Whole, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_digest", Text, nullable=False),
    Column("latent_dim", Whole, nullable=False),
    Column("standardized", Truth, nullable=False),
    Column("generation", Whole, nullable=False, default=0),  # grows with each change
    Column("stamp", LargeBinary, nullable=False),  # chained hash of all changes: equal histories have equal stamps
    Column("found", Whole, nullable=False, default=0),  # pictures that can be found: no query counts them
    Column("rebuild_from", Whole, nullable=False, default=0),  # caches of an earlier generation cannot be updated
    # of a picture: ids are never reused
    Column("next_id", Whole, nullable=False, server_default="1", info={"since": 2, "default": "'1'"}),
    _checksum(),
)

generations = Table(
    "generations",
    tables,
    Column("generation", Whole, primary_key=True, autoincrement=False),
    Column("stamp", LargeBinary, nullable=False),
)

roots = Table(
    "roots",
    tables,
    Column("id", Whole, primary_key=True, autoincrement=False),
    Column("path", LargeBinary, nullable=False, unique=True),
    _checksum(),
)

pictures = Table(
    "pictures",
    tables,
    Column("id", Whole, primary_key=True, autoincrement=False),
    Column("root_id", ForeignKey("roots.id"), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("content_hash", LargeBinary, index=True),
    Column("width_px", Whole),
    Column("height_px", Whole),
    Column("realism", Float),
    Column("spread", Float),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("generation", Whole, nullable=False, index=True),
    Column("ctime_ns", BigInteger, info={"since": 2}),  # None in rows of schema 1
    Column("unfamiliarity", Float, info={"since": 5}),  # None in rows of older schemas
    _checksum(),
    UniqueConstraint("root_id", "path"),
    CheckConstraint("status in ('found', 'skipped', 'vanished', 'removed')"),
    # filters by one of these read no row
    Index("ix_pictures_size_bytes", "size_bytes", "status"),
    Index("ix_pictures_mtime_ns", "mtime_ns", "status"),
    Index("ix_pictures_width_px", "width_px", "status"),
)

codes = Table(
    "codes",
    tables,
    Column("picture_id", ForeignKey("pictures.id", ondelete="CASCADE"), primary_key=True),
    Column("code", LargeBinary, nullable=False),  # float32, little-endian
    _checksum(),
)

facts = Table(  # of a content, as index.facts has them
    "facts",
    tables,
    Column("content_hash", LargeBinary, primary_key=True),
    Column("format", Text, nullable=False),
    Column("frames", Whole, nullable=False),
    Column("bits", Whole, nullable=False),
    Column("mode", Text, nullable=False),
    Column("has_alpha", Truth, nullable=False),
    Column("taken_us", BigInteger, index=True),
    Column("taken_offset_s", Whole),
    Column("camera", Text),
    Column("lens", Text),
    Column("focal_mm", Float),
    Column("exposure_s", Float),
    Column("iso", Whole),
    Column("latitude", Float, index=True),
    Column("longitude", Float),
    Column("orientation", Whole),
    Column("rating", Whole),
    Column("title", Text),
    Column("keywords", Text),
    Column("burst", Text),
    Column("is_raw", Truth, nullable=False),
    Column("is_screenshot", Truth, nullable=False),
    Column("is_motion", Truth, nullable=False),
    Column("has_gain_map", Truth, nullable=False),
    _checksum(),
    info={"since": 4},
)

distinct = Table(  # pairs of contents that the user marked as not copies
    "distinct_contents",
    tables,
    Column("hash_a", LargeBinary, primary_key=True),  # the smaller one
    Column("hash_b", LargeBinary, primary_key=True),
    _checksum(),
)

directions = Table(  # directions in the latent space, by name
    "directions",
    tables,
    Column("name", Name, primary_key=True),
    Column("vector", LargeBinary, nullable=False),  # float32, little-endian
    Column("with_count", Whole, nullable=False),
    Column("without_count", Whole, nullable=False),
    Column("accuracy", Float),
    _checksum(),
)
