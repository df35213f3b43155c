"""What is asked and answered, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.files import MOST_UPLOAD_BYTES

K_MOST, OFFSET_MOST, TEXT_MOST, CODE_MOST, TAUGHT_MOST = 200, 100_000, 2000, 30_000, 1000
OF_A_REGION = "left, top, right and bottom of a face or a tile in its picture, as shares"
IDS = r"^\d{1,18}(,\d{1,18}){0,63}$"

Id = Annotated[int, Field(ge=0, lt=2**63)]
Words = Annotated[str, Field(max_length=TEXT_MOST)]
CodeText = Annotated[str, Field(max_length=CODE_MOST, description="float32, little-endian, base64 or base64url")]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Options(Asked):
    """How a query is answered; as the options of ``latent query``."""

    k: int = Field(10, ge=1, le=K_MOST)
    metric: Literal["euclidean", "cosine"] = "euclidean"
    where: Words | None = None
    text: Words | None = None
    prefer: Words | None = None
    within: float | None = Field(None, ge=0)
    offset: int = Field(0, ge=0, le=OFFSET_MOST)
    copies: Literal["collapse", "show"] = "show"
    like: str | None = Field(None, pattern=IDS, description="ids of pictures to move the query to")
    unlike: str | None = Field(None, pattern=IDS, description="ids of pictures to move it away from")


class OptionsOfKnown(Options):
    """A query by an id or by a code."""

    id: Id | None = None
    code: CodeText | None = None


class Listing(Asked):
    where: Words | None = None
    text: Words | None = None
    order: Literal["path", "taken", "newest", "size", "pixels", "realism", "novelty"] = "path"
    reverse: bool = False
    limit: int = Field(100, ge=1, le=K_MOST)
    offset: int = Field(0, ge=0, le=2**31)


class ThumbnailSize(Asked):
    size: Literal["128", "256", "512", "1024"] = "256"


class OtherCode(Asked):
    """The picture or the code to compare with."""

    id: Id | None = None
    code: CodeText | None = None


class Painting(Asked):
    code: CodeText
    scale: float | None = Field(None, ge=-100, le=100, description="paint G(scale * code), without corrections")


class Between(Asked):
    a: Id
    b: Id
    t: float = Field(ge=0, le=1)


class Sampling(Asked):
    seed: int = Field(0, ge=0, lt=2**63)
    count: int = Field(1, ge=1, le=64)
    near: CodeText | None = None
    spread: float = Field(0.5, ge=0, le=2)


class Sum(Asked):
    terms: str = Field(max_length=TEXT_MOST, description="1*ID,-0.5*ID,2*NAME")


class Teaching(Asked):
    """Pictures with something and pictures without it; at least one of each."""

    name: str = Field(min_length=1, max_length=100, description="letters, digits, - and _")
    having: list[Id] = Field(min_length=1, max_length=TAUGHT_MOST)
    lacking: list[Id] = Field(min_length=1, max_length=TAUGHT_MOST)


class Hit(BaseModel):
    id: int
    rank: int
    name: str
    folder: str
    distance: float
    similarity: float
    realism: float
    width: int
    height: int
    copies: int
    gone: bool
    box: list[float] | None = Field(None, description=OF_A_REGION)


class Hits(BaseModel):
    hits: list[Hit]
    code: str
    novelty: float | None
    unfamiliarity: float | None


class Item(BaseModel):
    id: int
    name: str
    folder: str
    realism: float
    width: int
    height: int
    gone: bool
    taken: str | None
    size_bytes: int
    box: list[float] | None = Field(None, description=OF_A_REGION)


class Items(BaseModel):
    items: list[Item]
    total: int


class FullItem(Item):
    facts: dict[str, Any] | None
    novelty: float | None
    status: Literal["found", "changed", "gone"]


class Place(BaseModel):
    path: str


class Code(BaseModel):
    code: str


class Codes(BaseModel):
    codes: list[str]


class DirectionFacts(BaseModel):
    name: str
    having: int = Field(description="how many pictures it was learnt from")
    lacking: int
    accuracy: float | None = Field(description="on pictures that it was not learnt from; null if there were too few")


class Directions(BaseModel):
    directions: list[DirectionFacts]


MapStage = Literal["reading", "placing", "grouping", "describing"]


class MapProgress(BaseModel):
    """The map is being made; ask again."""

    stage: MapStage
    done: int
    total: int


class MapCluster(BaseModel):
    """Pictures round a place. Its prototype is ``code``, the average of theirs, painted with ``scale``."""

    x: float
    y: float
    count: int
    typical: int = Field(description="the id of the picture nearest to the average")
    code: str
    scale: float | None = Field(description="None if the model paints nothing")


class Map(BaseModel):
    """Pictures on a plane. Columns are base64 of little-endian numbers, one for each picture."""

    generation: int
    total: int = Field(description="pictures of the collection; of more than 100,000, so many were drawn at random")
    ids: str = Field(description="int64")
    names: list[str]
    positions: str = Field(description="float32, x and y of each, from 0 to 1")
    cluster: str = Field(description="uint16, its place in clusters")
    clusters: list[MapCluster]
    folder: str = Field(description="uint32, its place in folders")
    folders: list[str] = Field(description="relative to their roots")
    taken_s: str = Field(description="float64, seconds from 1970 on by the clock of the camera, or of the file; or NaN")
    novelty: str = Field(description="float32, the share of the collection that is less novel; NaN if it is too small")


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Status(BaseModel):
    pictures: int
    model: str
    model_digest: str = Field(description="SHA-256 of the encoder: only codes of one model can be compared")
    image_size: int
    latent_dim: int
    has_generator: bool
    generation: int
    roots: int
    skipped: int
    missing_facts: int
    directions: list[str]
    reveals: bool = Field(description="whether folders can be opened on the server's screen")
    read_only: bool
    version: str


class ErrorFacts(BaseModel):
    code: str
    message: str


class Error(BaseModel):
    error: ErrorFacts


UPLOAD = {
    "requestBody": {
        "required": True,
        "description": f"the bytes of a picture, at most {MOST_UPLOAD_BYTES >> 20} MiB",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", "application/octet-stream")
        },
    }
}
