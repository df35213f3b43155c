"""Tell files that were never meant to be pictures from pictures that could not be read.

The content decides where it is known: a film is none of the pictures, whatever its name. Else the name does: a file of
text is a picture that could not be read if it is called ``.jpg``. The verdict is a part of the reason, which an index
stores. Every worker process imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

NOT_A_PICTURE = "not a picture"
OTHER = f"{NOT_A_PICTURE}: "  # begins the reasons of other files; their kind follows
EMPTY = "empty file"
NO_FACE, FACELESS = "no face was found in it", "without a face"  # a reason, and the kind that it tells
UNREADABLE = "damaged, or of a kind that cannot be decoded"
UNKNOWN = "unknown"
RAW = "raw negative of a camera, which is not developed here; export it as JPEG or TIFF"
HEAD_BYTES = 512

NAMES_OF_KINDS = {
    "sidecar": "xmp aae thm json pp3 dop cos on1 lrv vrd dr4 nksc exif ini picasa bib comask rrdata acr arp",
    "text": "txt md csv tsv log html htm css js xml yml yaml toml rst tex srt vtt nfo py sh c h cpp sql conf url m3u",
    "video": "mp4 m4v mov avi mkv webm mpg mpeg mts m2ts ts wmv flv 3gp 3g2 vob ogv mxf insv 360 braw",
    "sound": "mp3 wav flac ogg oga m4a aac wma opus aif aiff mid amr",
    "archive": "zip rar 7z tar gz tgz bz2 xz zst iso dmg cab jar apk",
    "document": "pdf doc docx xls xlsx ppt pptx odt ods odp rtf epub pages numbers key djvu mobi",
    "drawing": "svg svgz ai cdr dwg dxf",
    "program": "exe dll so dylib bin msi app bat com o pyc deb rpm lnk",
    "database": "db sqlite sqlite3 lrcat lrdb db3 db-wal db-shm mdb",
    "font": "ttf otf woff woff2 pfb eot",
}
RAW_NAMES = (
    "3fr arw bay cap cr2 cr3 crw dcr dcs dng erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef ptx pxn r3d raf "
    "raw rw2 rwl rwz sr2 srf srw x3f"
)
PICTURE_NAMES = (
    "jpg jpeg jpe jfif jif png apng gif bmp dib tif tiff webp heic heif hif avif avifs jp2 j2k j2c jpf jpx jpc ico "
    "icns cur tga pcx ppm pgm pbm pnm pfm pam psd psb xcf dds sgi rgb rgba bw ras qoi jxl mpo jps insp xbm xpm exr hdr "
    "fit fits eps wmf emf fli flc"
)
OTHER_KINDS = frozenset([*NAMES_OF_KINDS, UNKNOWN, EMPTY, FACELESS])

_KIND_OF_NAME = {name: kind for kind, names in reversed(NAMES_OF_KINDS.items()) for name in names.split()}
_RAW, _PICTURES = frozenset(RAW_NAMES.split()), frozenset(PICTURE_NAMES.split())

_STARTS = {  # of files, and what they are
    "raw": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR"),
    "video": (b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV\x01"),
    "sound": (b"ID3", b"fLaC", b"OggS", b"MThd", b"#!AMR", b"FORM\0\0\0\0AIFF"),
    "archive": (
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"Rar!\x1a\x07",
        b"7z\xbc\xaf\x27\x1c",
        b"\x1f\x8b\x08",
        b"BZh",
        b"\xfd7zXZ",
    ),
    "document": (b"%PDF-", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"AT&TFORM"),
    "program": (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!/"),
    "database": (b"SQLite format 3\0",),
    "font": (b"OTTO\0", b"wOFF", b"wOF2", b"\0\x01\0\0\0"),
}
_PICTURE_STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"8BPS",
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",
)
_SIGNS: dict[str, Callable[[bytes], bool]] = {  # further inside
    "video": lambda head: head[4:8] in (b"moov", b"mdat", b"wide", b"skip") or _is_transport_stream(head),
    "archive": lambda head: head[257:262] == b"ustar",
    "drawing": lambda head: b"<svg" in head,
}
_SHORT_STARTS = ("program", "font")  # whose starts are short: only where the name says no other thing


def reason_without_picture(reason: str, head: bytes, name: str, identified: bool) -> str:
    """The reason to store of a file that gave no picture: ``reason``, or what the file is if it was to be none.

    ``head`` holds its first bytes. ``identified``: they are those of a picture's format.
    """
    suffix, kind = suffix_of(name), kind_of_content(head)
    if not identified and _begins_as_picture(head):
        identified, reason = True, UNREADABLE if reason == NOT_A_PICTURE else reason
    if kind == "raw" or (suffix in _RAW and (identified or reason in (NOT_A_PICTURE, UNREADABLE))):
        return RAW
    if kind is not None and (kind not in _SHORT_STARTS or suffix not in _PICTURES):
        return OTHER + _refined(kind, suffix)
    if identified or suffix in _PICTURES or suffix in _RAW:
        return reason
    return OTHER + (EMPTY if not head else _KIND_OF_NAME.get(suffix) or ("text" if _is_text(head) else UNKNOWN))


def _refined(kind: str, suffix: str) -> str:
    """A document may be packed like an archive, and a sound like a film: there the name tells them apart."""
    named = _KIND_OF_NAME.get(suffix, kind)
    return named if (kind, named) in (("archive", "document"), ("archive", "program"), ("video", "sound")) else kind


def other_kind(reason: str, path: str = "") -> str | None:
    """The kind of a file that was never meant to be a picture, by its stored reason; None if it was.

    ``path`` decides for rows of an older version, which did not tell the kind.
    """
    if reason == NO_FACE:
        return FACELESS
    if reason.startswith(OTHER):
        kind = reason.removeprefix(OTHER)
        return kind if kind in OTHER_KINDS else UNKNOWN
    if reason in (NOT_A_PICTURE, EMPTY) and (suffix := suffix_of(path)) not in _PICTURES | _RAW:
        return EMPTY if reason == EMPTY else _KIND_OF_NAME.get(suffix, UNKNOWN)
    return None


def suffix_of(name: str) -> str:
    return os.path.splitext(name)[1][1:].lower()


def kind_of_content(head: bytes) -> str | None:
    """What the first bytes of a file say that it is, if that is no picture; "raw" is a camera's negative."""
    if head[4:8] == b"ftyp":
        return _kind_of_brand(head[8:12])
    if head[:4] == b"RIFF":
        return {b"AVI ": "video", b"WAVE": "sound"}.get(head[8:12])
    for kind, starts in _STARTS.items():
        if head.startswith(starts):
            return kind
    return next((kind for kind, is_one in _SIGNS.items() if is_one(head)), None)


def _begins_as_picture(head: bytes) -> bool:
    is_boxed = head[4:8] == b"ftyp" and _kind_of_brand(head[8:12]) is None
    return is_boxed or head.startswith(_PICTURE_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _is_transport_stream(head: bytes) -> bool:
    """MPEG's, in packets of 188 bytes, or of 192 by cameras, each with the same first byte."""
    return any(
        head[at : at + 1] == b"G" == head[at + each : at + each + 1] == head[at + 2 * each : at + 2 * each + 1]
        for at, each in ((0, 188), (4, 192))
    )


def _kind_of_brand(brand: bytes) -> str | None:
    """Of a file of ISO's container (ISO 14496-12)."""
    if brand == b"crx ":
        return "raw"
    if brand.startswith((b"he", b"avi", b"mif", b"msf", b"jp", b"jxl", b"mia")):  # pictures, whether they can be read
        return None
    return "sound" if brand.startswith((b"M4A", b"M4B")) else "video"


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return not any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)


def counted_kinds(kinds: Iterable[str]) -> dict[str, int]:
    """How many there are of each kind, most first."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
