"""What another ``latent`` asks of this index, to search it together with its own. Columns are base64 of little-endian
numbers, one for each hit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serve.records import TEXT_MOST, Asked, Id

HITS_MOST, QUERIES_MOST, IDS_MOST, LOOKS_MOST = 10_000, 256, 10_000, 10_000

Exact = Annotated[str, Field(description="a filter in exact words, as latent sends it")]  # as long as a request may be


class Searched(Asked):
    codes: str = Field(description="float32, at most 256 codes one after the other")
    k: int = Field(10, ge=1, le=HITS_MOST)
    offset: int = Field(0, ge=0, le=2**31)
    metric: Literal["euclidean", "cosine"] = "euclidean"
    where: Exact | None = None
    left_out: list[Annotated[list[Id], Field(max_length=IDS_MOST)]] | None = Field(
        None, max_length=QUERIES_MOST, description="for each code the ids to exclude"
    )


class Counted(Asked):
    where: Exact


class Wanted(Asked):
    ids: list[Id] = Field(max_length=IDS_MOST)


class Worded(Asked):
    text: str = Field(max_length=TEXT_MOST)


class Looked(Asked):
    count: int = Field(ge=1, le=LOOKS_MOST)


class OfModel(BaseModel):
    model_digest: str = Field(description="SHA-256 of the encoder: only codes of one model can be compared")


class ShardFacts(OfModel):
    model: str
    latent_dim: int
    standardized: bool
    generation: int
    stamp: str
    pictures: int


class ShardHits(OfModel):
    """The hits of the first code, then those of the second one, and so on."""

    generation: int
    counts: list[int] = Field(description="how many hits each code has")
    ids: str = Field(description="int64")
    distances: str = Field(description="float64, Euclidean")
    similarities: str = Field(description="float64, cosine")
    realism: str = Field(description="float64")
    spread: str = Field(description="float64")
    unfamiliarity: str = Field(description="float64, no number where it is not known")
    width: str = Field(description="int64")
    height: str = Field(description="int64")
    size_bytes: str = Field(description="int64")
    mtime_ns: str = Field(description="int64")
    hashes: list[str] = Field(description="of the contents, hexadecimal")
    names: list[str]
    folders: list[str] = Field(description="relative to their roots")


class ShardCodes(OfModel):
    ids: str = Field(description="int64, of those that have a code")
    codes: str = Field(description="float32 (n, d)")


class ShardCount(OfModel):
    pictures: int


class ShardIds(OfModel):
    ids: str = Field(description="int64, best first")


class ShardLooks(OfModel):
    looks: str = Field(description="realism and spread, float32 (n, 2), of a sample")
