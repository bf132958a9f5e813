"""What kind of file this is, by its first bytes: compressed ones are opened, those that are not
read are named.

Text is UTF-8; a byte order mark is taken off.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO

READ_FORMS = (
    "JSON lines, a JSON list, CSV, TSV or parquet, each also compressed with gzip, bzip2 or xz"
)
PARQUET = b"PAR1"
MOST_BYTES = 8 << 30
"""No problem file is larger; a small file that unpacks to more is not one."""
CHUNK_BYTES = 1 << 20

Opener = Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]
COMPRESSIONS: dict[bytes, tuple[str, Opener]] = {
    b"\x1f\x8b": ("gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
FOREIGN = {
    b"PK\x03\x04": "a zip archive (or an Office file such as .xlsx); unpack it, or save the table "
    "as CSV",
    b"PK\x05\x06": "an empty zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it: zstd -d",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!": "a rar archive; unpack it",
    b"\xd0\xcf\x11\xe0": "an old Office file (.xls); save the table as CSV",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy array",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"ARROW1": "an Arrow file; in `datasets`: dataset.to_json('problems.jsonl')",
    b"\xff\xff\xff\xff": "an Arrow stream, as `datasets` saves it; use "
    "dataset.to_json('problems.jsonl')",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"%PDF": "a PDF",
    b"\x80\x04\x95": "a Python pickle, which is never opened; it may run code",
    b"\x80\x05\x95": "a Python pickle, which is never opened; it may run code",
    b"version https://git-lfs": "the pointer of Git LFS and not the file itself; fetch it: git "
    "lfs pull",
    b"<": "XML or a web page; download the file itself, not the page that shows it",
}
"""First bytes of files that are met and not read, and what each is."""
_BOM = b"\xef\xbb\xbf"


def plain_bytes(data: bytes, name: str) -> bytes:
    """The bytes of a file without compression and byte order mark, UTF-8 text or parquet.

    Raises ValueError, naming the file and the forms that are read, for whatever is neither.
    """
    for _ in range(2):  # a file may have been packed twice by accident
        for first, (kind, opener) in COMPRESSIONS.items():
            if data.startswith(first):
                data = _unpacked(data, name, kind, opener)
                break
    if data.startswith(PARQUET):
        return data
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) and not data.startswith(b"\xff\xfe\0\0"):
        raise ValueError(f"{name} is UTF-16, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    data = data.removeprefix(_BOM)
    start = data[:200].lstrip()
    for first, kind in FOREIGN.items():
        if start.startswith(first):
            raise ValueError(f"{name} is {kind}; what is read: {READ_FORMS}")
    if data[257:262] == b"ustar":
        raise ValueError(f"{name} is a tar archive; unpack it; what is read: {READ_FORMS}")
    if b"\0" in data[:16]:
        raise ValueError(
            f"{name} is a binary file, or UTF-16 without a mark (iconv -f UTF-16LE -t UTF-8); what "
            f"is read: {READ_FORMS}"
        )
    return data


def _unpacked(data: bytes, name: str, kind: str, opener: Opener) -> bytes:
    out = io.BytesIO()
    try:
        with opener(io.BytesIO(data)) as stream:
            while part := stream.read(CHUNK_BYTES):
                out.write(part)
                if out.tell() > MOST_BYTES:
                    raise ValueError(
                        f"{name} unpacks to more than {MOST_BYTES >> 30} GiB, which is no problem "
                        "file"
                    )
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(
            f"{name} is damaged: its {kind} compression breaks off or is wrong ({error}); "
            "copy or download it again"
        ) from None
    return out.getvalue()
