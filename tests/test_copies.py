"""What are copies, and what only looks like them: kind by kind, drawn here, for two files and for a collection."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from retrieval import Plan, Retriever, compare_pictures, find_copies, load_model
from retrieval.copies.kinds import KINDS
from retrieval.copies.registration import can_register
from retrieval.models.model import Model

Rng = np.random.Generator
Pair = frozenset[str]
COUNT = 30
WIDE, HIGH = 480, 360
ALL_COPIES = ("bytes", "pixels", "scaled", "edited")
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def drawn(count: int, seed: int) -> list[Image.Image]:
    """Large forms of a model's samples, and detail at every scale, as photographs have."""
    rng, pictures = np.random.default_rng(seed), []
    for pixels in load_model("faces-64", "cpu").sample(count, seed=seed):
        form = np.asarray(Image.fromarray(pixels).resize((WIDE, HIGH), Image.Resampling.BICUBIC), np.float32)
        detail = np.zeros((HIGH, WIDE), np.float32)
        for octave in range(3, 9):
            coarse = Image.fromarray(rng.normal(0, 1, (2**octave * 3 // 4, 2**octave)).astype(np.float32))
            detail += np.asarray(coarse.resize((WIDE, HIGH), Image.Resampling.BICUBIC)) * 60 / 2 ** (octave - 1)
        pictures.append(Image.fromarray((form + detail[..., None]).clip(0, 255).astype(np.uint8)))
    return pictures


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return drawn(COUNT, 3)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("faces-64", "cpu")


class Library:
    """Photographs with an index; a folder beside them is filled for one test."""

    def __init__(self, folder: Path, photographs: list[Image.Image]) -> None:
        self.photos, self.index = folder / "photos", folder / "index"
        (self.photos / "originals").mkdir(parents=True)
        for number, image in enumerate(photographs):
            image.save(self.photos / "originals" / f"{number:02d}.png")
        self.retriever = Retriever.build(self.photos, self.index, model="faces-64", workers=1)
        self.added = self.photos / "added"

    def found(self, **settings: object) -> Plan:
        self.retriever.update()
        return find_copies(self.retriever, workers=1, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole_library(photographs: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    library = Library(tmp_path_factory.mktemp("library"), photographs)
    yield library
    library.retriever.close()


@pytest.fixture
def library(whole_library: Library) -> Iterator[Library]:
    whole_library.added.mkdir()
    yield whole_library
    shutil.rmtree(whole_library.added)


def pairs_of(plan: Plan) -> dict[Pair, str]:
    """All pairs that a plan names, by the names of their files, and their kinds."""
    removed = {frozenset((group.keep, one.path)): one.kind for group in plan.groups for one in group.evidence}
    listed = removed | {frozenset((one.a, one.b)): one.kind for one in plan.others}
    return {frozenset(Path(path).name for path in pair): kind for pair, kind in listed.items()}


def removed_by(plan: Plan) -> set[str]:
    return {Path(path).name for group in plan.groups for path in group.remove}


# No copies


def words(rng: Rng, count: int) -> str:
    return " ".join("".join(rng.choice(LETTERS, rng.integers(3, 9))) for _ in range(count))


def written(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int) -> None:
    pen.text(at, text, "black", ImageFont.load_default(size))


def smooth(rng: Rng) -> np.ndarray:
    coarse = Image.fromarray(rng.uniform(0, 1, (6, 6)).astype(np.float32))
    return np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC)).clip(0, 1)


def white_shape(number: int, rng: Rng) -> Image.Image:
    page = Image.new("RGBA", (256, 256), (255, 255, 255, 0))
    angles = np.linspace(0, 2 * np.pi, 3 + number, endpoint=False)
    radii = rng.uniform(50, 120, len(angles))
    corners = [(128 + r * np.cos(a), 128 + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]
    ImageDraw.Draw(page).polygon(corners, "white")
    return page


def mask(number: int, rng: Rng) -> Image.Image:
    return Image.fromarray((3.999 * smooth(rng)).astype(np.uint8))


def ids_16_bits(number: int, rng: Rng) -> Image.Image:
    return Image.fromarray((1000 * (1 + number) + 12 * smooth(rng)).astype(np.uint16))


def wide_range(number: int, rng: Rng) -> Image.Image:
    return Image.fromarray((300 * smooth(rng) - 20).astype(np.float32))


def hot_pixel(number: int, rng: Rng) -> Image.Image:
    values = smooth(rng).astype(np.float32)
    values[tuple(rng.integers(0, 256, 2))] = 5000
    return Image.fromarray(values)


def flag(number: int, rng: Rng) -> Image.Image:
    colours = list(itertools.permutations([(0, 85, 164), (239, 65, 53), (0, 146, 70), (255, 206, 0)], 3))[number * 5]
    page = Image.new("RGB", (300, 200))
    for part, colour in enumerate(colours):
        ImageDraw.Draw(page).rectangle((100 * part, 0, 100 * part + 99, 199), fill=colour)
    return page


def swatch(number: int, rng: Rng) -> Image.Image:
    """Colours of one grey value, and a label that all of them share."""
    colour = [(200, 60, 57), (40, 128, 166), (118, 72, 200), (170, 76, 52)][number]
    page = Image.new("RGB", (240, 240), colour)
    ImageDraw.Draw(page).rectangle((0, 200, 239, 239), fill="white")
    return page


def shade(number: int, rng: Rng) -> Image.Image:
    """One product, in colours that are eleven levels of one channel apart."""
    page = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(page).ellipse((60, 60, 240, 240), fill=(204, 60 + 11 * number, 51))
    return page


def thin_line(number: int, rng: Rng) -> Image.Image:
    """One face whose mouth is a line of little contrast."""
    page = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(page)
    pen.ellipse((10, 10, 118, 118), fill=(141, 85, 36))
    pen.arc((40, 70 - 8 * number, 88, 98), 20, 160, fill=(90, 30, 30))
    return page


def strong_edge(number: int, rng: Rng) -> Image.Image:
    """Half dark and half bright, with other faint forms on it."""
    values = np.repeat([[50.0, 205.0]], 128, 1).repeat(256, 0) + 60 * (smooth(rng) - 0.5) + rng.normal(0, 3, (256, 256))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def form(number: int, rng: Rng) -> Image.Image:
    page = Image.new("RGB", (620, 877), "white")
    pen = ImageDraw.Draw(page)
    for row in range(10):
        pen.rectangle((60, 90 + 72 * row, 560, 140 + 72 * row), outline="black")
        written(pen, (64, 92 + 72 * row), f"{row + 1}. Name of field", 11)
        written(pen, (90, 112 + 72 * row), words(rng, 2), 18)
    return page


def letter(number: int, rng: Rng) -> Image.Image:
    page = Image.new("RGB", (620, 877), "white")
    pen = ImageDraw.Draw(page)
    pen.rectangle((60, 50, 160, 90), fill=(30, 60, 120))
    for row in range(24):
        written(pen, (60, 200 + 22 * row), words(rng, 6), 15)
    return page


def chat(number: int, rng: Rng) -> Image.Image:
    page = Image.new("RGB", (450, 900), (236, 229, 221))
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, 450, 70), fill=(7, 94, 84))
    for row in range(8):
        left = 120 if rng.integers(2) else 15
        pen.rounded_rectangle((left, 90 + 95 * row, left + 315, 165 + 95 * row), 12, fill="white")
        written(pen, (left + 12, 105 + 95 * row), words(rng, 3), 16)
    return page


def emoji(number: int, rng: Rng) -> Image.Image:
    page = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(page)
    pen.ellipse((10, 10, 118, 118), fill=((255, 204, 77), (224, 172, 105))[number % 2])
    for x in (38, 78):
        pen.ellipse((x, 46, x + 12, 60), fill="black")
    draw = pen.ellipse if number < 2 else pen.chord
    draw(*(((40, 70, 88, 98),) if number < 2 else ((40, 70, 88, 98), 20, 160)), fill=(90, 30, 30))
    return page


NEVER: dict[str, Callable[[int, Rng], Image.Image]] = {
    one.__name__: one
    for one in (
        white_shape, mask, ids_16_bits, wide_range, hot_pixel, flag, swatch, shade, thin_line, strong_edge, form,
        letter, chat, emoji,
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", NEVER)
def test_what_only_looks_alike_is_never_a_copy(library: Library, model: Model, kind: str) -> None:
    rng = np.random.default_rng(5)
    paths = []
    for number in range(4):
        image = NEVER[kind](number, rng)
        paths.append(library.added / f"{number}{'.tif' if image.mode == 'F' else '.png'}")
        image.save(paths[-1])
    answers = {(a.name, b.name): compare_pictures(a, b, model) for a, b in itertools.combinations(paths, 2)}
    assert {pair: one.copies for pair, one in answers.items() if one.copies != "no"} == {}
    assert removed_by(library.found(kinds=ALL_COPIES, mirrored=True)) == set()


# More than what is seen


@pytest.fixture(scope="module")
def others() -> list[Image.Image]:
    """Photographs that are not in the library."""
    return drawn(5, 42)


def frames_of(others: list[Image.Image], *numbers: int) -> list[Image.Image]:
    return [others[number].resize((160, 120)) for number in numbers]


@pytest.mark.parametrize("ending", ["gif", "png", "tif", "webp"])
def test_a_file_of_several_frames_is_no_copy_of_another_with_the_same_first(
    library: Library, model: Model, others: list[Image.Image], ending: str
) -> None:
    several = {"a": (0, 1, 2), "b": (0, 3, 4)}
    lossless = {"lossless": True} if ending == "webp" else {}
    for name, numbers in several.items():
        first, *rest = frames_of(others, *numbers)
        first.save(library.added / f"{name}.{ending}", save_all=True, append_images=rest, **lossless)
    with Image.open(library.added / f"a.{ending}") as image:
        image.convert("RGB").save(library.added / "still.png")
    names = [f"a.{ending}", f"b.{ending}", "still.png"]
    for one, other in itertools.combinations(names, 2):
        found = compare_pictures(library.added / one, library.added / other, model)
        assert (found.copies, found.kind) == ("no", "frame")
    pairs = pairs_of(library.found(kinds=ALL_COPIES))
    among = {pair: kind for pair, kind in pairs.items() if pair <= set(names)}
    assert among == {frozenset(pair): "frame" for pair in itertools.combinations(names, 2)}
    assert removed_by(library.found()) == removed_by(library.found(kinds=ALL_COPIES)) == set()


def test_pages_and_an_animation_of_the_same_frames_are_two_things(
    library: Library, model: Model, others: list[Image.Image]
) -> None:
    first, *rest = frames_of(others, 0, 1, 2)
    durations = {"slow.png": 500, "fast.png": 100, "pages.tif": None}
    for name, duration in durations.items():
        shown = {} if duration is None else {"duration": duration}
        first.save(library.added / name, save_all=True, append_images=rest, **shown)
    (library.added / "again.png").write_bytes((library.added / "slow.png").read_bytes() + b"more")
    for one, other in itertools.combinations(durations, 2):
        found = compare_pictures(library.added / one, library.added / other, model)
        assert (found.copies, found.kind) == ("no", "frame")
    assert compare_pictures(library.added / "slow.png", library.added / "again.png", model).kind == "pixels"
    assert removed_by(library.found(kinds=ALL_COPIES)) in ({"again.png"}, {"slow.png"})


def test_what_has_more_frames_never_goes_whatever_kinds_are_asked_for(
    library: Library, others: list[Image.Image]
) -> None:
    first, *rest = frames_of(others, 0, 1, 2)
    first.save(library.added / "a.gif", save_all=True, append_images=rest)
    with Image.open(library.added / "a.gif") as image:
        still = image.convert("RGB")
    still.resize((640, 480)).save(library.added / "still.png")  # more pixels, and a larger file
    for rules in (("detail",), ("size",), ("resolution",), ("path",)):
        assert "a.gif" not in removed_by(library.found(kinds=KINDS, keep=rules))


def save_negative(path: Path, image: Image.Image) -> None:
    """A TIFF as cameras write them: a small first picture, and a directory with the raw values behind it."""
    tags = ImageFileDirectory_v2()
    tags[254] = 1
    tags[330] = 8
    tags.tagtype[330] = 4
    image.save(path, tiffinfo=tags)


def test_a_raw_file_is_no_copy_of_its_picture_and_never_goes(
    library: Library, model: Model, others: list[Image.Image]
) -> None:
    small = others[0].resize((240, 180))
    save_negative(library.added / "raw.tif", small)
    small.resize((480, 360)).save(library.added / "large.jpg", quality=95)
    small.save(library.added / "same.png")
    for name in ("large.jpg", "same.png"):
        found = compare_pictures(library.added / "raw.tif", library.added / name, model)
        assert (found.copies, found.kind) == ("no", "frame")
    for rules in (None, ("size",), ("path",), ("resolution",)):
        settings = {"keep": rules} if rules else {}
        for kinds in (("bytes", "pixels", "scaled"), ALL_COPIES, KINDS):
            assert "raw.tif" not in removed_by(library.found(kinds=kinds, **settings))


# Copies


def saved(image: Image.Image, form: str, **settings: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, **settings)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image, left: float, top: float) -> Image.Image:
    x, y = round(left * image.width), round(top * image.height)
    return image.crop((x, y, x + round(0.8 * image.width), y + round(0.8 * image.height)))


def screenshot(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", (image.width, image.width * 16 // 9), (18, 18, 20))
    page.paste(image, (0, (page.height - image.height) // 2))
    pen = ImageDraw.Draw(page)
    pen.text((24, 14), "12:34", "white", ImageFont.load_default(20))
    pen.rounded_rectangle((96, page.height - 64, 430, page.height - 30), 12, (45, 45, 50))
    return page


def captioned(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", (image.width, image.height + 50), "white")
    page.paste(image)
    ImageDraw.Draw(page).text((12, image.height + 10), "a day by the sea", "black", ImageFont.load_default(24))
    return page


def with_text(image: Image.Image) -> Image.Image:
    page = image.copy()
    font = ImageFont.load_default(36)
    ImageDraw.Draw(page).text((24, 12), "ONE DOES NOT", "white", font, stroke_width=2, stroke_fill="black")
    return page


def letterboxed(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, (0, 60, 0, 60), fill="black")


COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], str, tuple[str, ...]]] = {
    "re-saved": (lambda one: saved(one, "JPEG", quality=70), "scaled", ()),
    "half size": (lambda one: one.resize((WIDE // 2, HIGH // 2), Image.Resampling.LANCZOS), "scaled", ()),
    "64 px": (lambda one: one.resize((64, 48), Image.Resampling.LANCZOS), "scaled", ()),
    "crop": (lambda one: cropped(one, 0.1, 0.1), "edited", ("frame",)),
    "corner": (lambda one: cropped(one, 0.2, 0.2), "edited", ("frame",)),
    "quarter turn": (lambda one: one.transpose(Image.Transpose.ROTATE_90), "edited", ("turned by 270 degrees",)),
    "letterbox": (letterboxed, "edited", ("frame",)),
    "screenshot": (screenshot, "edited", ("frame",)),
    "caption": (captioned, "edited", ("frame",)),
    "text": (with_text, "edited", ("part",)),
    "grey": (lambda one: one.convert("L").convert("RGB"), "edited", ("tone",)),
    "brightness": (lambda one: ImageEnhance.Brightness(one).enhance(0.7), "edited", ("tone",)),
    "negative": (ImageOps.invert, "edited", ("negative",)),
}
REGISTERED = ("crop", "corner", "quarter turn", "screenshot", "caption")


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_named(library: Library, model: Model, photographs: list[Image.Image], name: str) -> None:
    if name in REGISTERED and not can_register():
        pytest.skip("OpenCV is not installed")
    alter, kind, differs = COPIES[name]
    true = {}
    for number in range(3):
        alter(photographs[number]).save(library.added / f"copy-{number}.png")
        true[frozenset((f"{number:02d}.png", f"copy-{number}.png"))] = kind
        pair = library.photos / "originals" / f"{number:02d}.png", library.added / f"copy-{number}.png"
        found = compare_pictures(*pair, model)
        assert (found.copies, found.kind) == ("yes", kind)
        assert set(differs) <= set(found.differs) and bool(found.differs) == (kind == "edited")
    if name == "negative":  # codes of a negative are those of another picture: only two files are compared
        return
    plan = library.found()
    assert pairs_of(plan) == true
    assert removed_by(plan) == ({f"copy-{number}.png" for number in range(3)} if kind == "scaled" else set())
    everything = library.found(kinds=ALL_COPIES)
    assert pairs_of(everything) == true and everything.others == []
    (told, *_) = (one for group in everything.groups for one in group.evidence)
    assert told.because and told.alike >= everything.alike


COMPRESSED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG": lambda one: saved(one, "JPEG", quality=40),
    "WebP": lambda one: saved(one, "WEBP", quality=40),
    "palette": lambda one: one.quantize(64).convert("RGB"),
    "CMYK": lambda one: one.convert("CMYK").convert("RGB"),
    "double": lambda one: one.resize((2 * one.width, 2 * one.height), Image.Resampling.LANCZOS),
}


@pytest.mark.parametrize("kind", ["shade", "thin_line", "letter", "emoji"])
@pytest.mark.parametrize("way", COMPRESSED)
def test_a_drawing_stays_a_copy_when_it_is_compressed(tmp_path: Path, model: Model, kind: str, way: str) -> None:
    drawing = NEVER[kind](1, np.random.default_rng(6))
    drawing.save(tmp_path / "a.png")
    COMPRESSED[way](drawing).save(tmp_path / "b.png")
    found = compare_pictures(tmp_path / "a.png", tmp_path / "b.png", model)
    assert found.copies == "yes" and found.kind in ("bytes", "pixels", "scaled")


def test_what_hides_a_part_is_told_from_another_content(
    tmp_path: Path, model: Model, photographs: list[Image.Image], others: list[Image.Image]
) -> None:
    """A sticker leaves a copy; another face, with as much detail, does not."""
    oval = Image.new("L", (WIDE, HIGH))
    ImageDraw.Draw(oval).ellipse((WIDE * 0.25, HIGH * 0.2, WIDE * 0.75, HIGH * 0.8), fill=255)
    detailed = [[ImageEnhance.Contrast(one).enhance(3) for one in these] for these in (photographs[:3], others[:3])]
    for number, (image, other) in enumerate(zip(*detailed, strict=True)):
        paths = [tmp_path / f"{name}-{number}.png" for name in ("whole", "sticker", "face")]
        image.save(paths[0])
        Image.composite(Image.new("RGB", image.size, (240, 200, 40)), image, oval).save(paths[1])
        Image.composite(other, image, oval).save(paths[2])
        assert compare_pictures(paths[0], paths[1], model).copies == "yes"
        assert compare_pictures(paths[0], paths[2], model).copies != "yes"


def test_the_same_samples_stored_otherwise_are_the_same_pixels(
    library: Library, model: Model, photographs: list[Image.Image]
) -> None:
    photographs[0].save(library.added / "a.bmp")
    photographs[0].save(library.added / "b.tif", compression="tiff_lzw")
    photographs[0].convert("RGBA").save(library.added / "c.png", compress_level=1)
    names = {"a.bmp", "b.tif", "c.png", "00.png"}
    plan = library.found()
    (group,) = plan.groups
    assert {Path(path).name for path in (group.keep, *group.remove)} == names
    assert {one.kind for one in group.evidence} == {"pixels"} and plan.others == []
    assert compare_pictures(library.added / "a.bmp", library.added / "c.png", model).kind == "pixels"


def test_mirrored_copies_are_found_where_they_are_asked_for(library: Library, photographs: list[Image.Image]) -> None:
    true = {}
    for number in range(3):
        ImageOps.mirror(photographs[number]).save(library.added / f"copy-{number}.png")
        true[frozenset((f"{number:02d}.png", f"copy-{number}.png"))] = "edited"
    assert pairs_of(library.found()) == {}
    plan = library.found(mirrored=True, kinds=ALL_COPIES)
    assert pairs_of(plan) == true
    assert {one.turned for group in plan.groups for one in group.evidence} == {"mirrored"}


# Shots of one moment


def shot(image: Image.Image, path: Path, seconds: str | None) -> None:
    exif = Image.Exif()
    if seconds is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2020:05:01 10:{seconds}"
    image.save(path, quality=90, exif=exif)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [("00:01", "00:04", "series"), (None, None, "scaled"), ("00:01", "00:01", "scaled"), ("00:01", "30:00", None)],
)
def test_two_dates_make_a_series_of_what_looks_the_same(
    library: Library, model: Model, first: str | None, second: str | None, kind: str | None
) -> None:
    (picture,) = drawn(1, 77)
    values = np.asarray(picture, np.float32)
    noisy = Image.fromarray((values + np.random.default_rng(1).normal(0, 2, values.shape)).clip(0, 255).astype("u1"))
    shot(picture, library.added / "a.jpg", first)
    shot(noisy, library.added / "b.jpg", second)
    found = compare_pictures(library.added / "a.jpg", library.added / "b.jpg", model)
    assert (found.copies, found.kind) == ("yes" if kind == "scaled" else "no", kind or "")
    plan = library.found()
    assert pairs_of(plan) == ({frozenset(("a.jpg", "b.jpg")): kind} if kind else {})
    assert len(removed_by(plan)) == (kind == "scaled")


# Collections


def test_black_frames_do_not_hide_copies(tmp_path: Path) -> None:
    photos, rng = tmp_path / "photos", np.random.default_rng(2)
    photos.mkdir()
    for number in range(300):
        values = rng.integers(0, 3, (40 + number % 7, 60 + number % 5, 3), np.uint8)
        Image.fromarray(values).save(photos / f"black-{number:03d}.png")
    for number in range(3):
        Image.new("RGB", (60, 40)).save(photos / f"equal-{number}.png", compress_level=number)
    true = {}
    for number, image in enumerate(drawn(60, 8)):
        image.save(photos / f"photo-{number:02d}.png")
        if number < 10:
            image.resize((WIDE // 2, HIGH // 2), Image.Resampling.LANCZOS).save(photos / f"half-{number:02d}.png")
            true[frozenset((f"photo-{number:02d}.png", f"half-{number:02d}.png"))] = "scaled"
    with Retriever.build(photos, tmp_path / "index", model="faces-64", workers=1) as retriever:
        plan = find_copies(retriever, kinds=ALL_COPIES, keep=["detail", "path"], workers=1)
    equal = {frozenset(("equal-0.png", f"equal-{number}.png")): "pixels" for number in (1, 2)}
    assert pairs_of(plan) == true | equal


def test_more_versions_than_neighbours_form_one_group(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    first, *others = drawn(30, 9)
    first.save(photos / "first.png")
    for number in range(64):
        first.resize((440 - 4 * number, 330 - 3 * number)).save(photos / f"v{number:02d}.jpg", quality=95 - number % 40)
    for number, image in enumerate(others):
        image.save(photos / f"other-{number:02d}.png")
    with Retriever.build(photos, tmp_path / "index", model="faces-64", workers=1) as retriever:
        (group,) = find_copies(retriever, workers=1).groups
    assert Path(group.keep).name == "first.png"
    assert {Path(path).name for path in group.remove} == {f"v{number:02d}.jpg" for number in range(64)}
