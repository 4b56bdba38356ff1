"""What Python's tarfile reads in an archive, one JSON object a line: tell_members.py ARCHIVE

Paths and targets are base64 of their bytes. Reading goes on after end markers, and ends where nothing can be read.
"""

import base64
import json
import math
import sys
import tarfile
from decimal import Decimal

TYPES = {
    tarfile.LNKTYPE: "hardlink", tarfile.SYMTYPE: "symlink", tarfile.CHRTYPE: "character", tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "directory", tarfile.FIFOTYPE: "fifo",
}  # fmt: skip


def raw(text):
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def tell(member):
    kind = "sparse" if member.issparse() else TYPES.get(member.type, "file")
    is_link = kind in ("hardlink", "symlink")
    return {
        "path": raw(member.name),
        "type": kind,
        "size": member.size if kind in ("file", "sparse") else 0,
        "mode": member.mode & 0o7777,
        "uid": member.uid,
        "gid": member.gid,
        # A float has no room for nanoseconds.
        "mtime_ms": math.floor(Decimal(member.pax_headers.get("mtime", member.mtime)) * 1000),
        "target": raw(member.linkname) if is_link else None,
        "device": [member.devmajor, member.devminor] if kind in ("character", "block") else None,
        "header": member.offset,
        "data": member.offset_data,
    }


with tarfile.open(sys.argv[1], "r:", ignore_zeros=True, encoding="utf-8", errors="surrogateescape") as archive:
    for member in archive:
        print(json.dumps(tell(member)))
