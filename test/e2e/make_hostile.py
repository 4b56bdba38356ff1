"""Makes an archive whose members have names that no honest one has: make_hostile.py ARCHIVE

The content of each is "I am " and its name.
"""

import io
import sys
import tarfile

NAMES = [
    "../../etc/passwd", "/etc/passwd", "//etc/passwd", "a/../b", "a/./b", "x//y", "x/y", "./dot", "a/b/..", "a/b/.", ".", "..", "...",
    "%2e%2e/passwd", "%2E%2E%2Fpasswd", "..%2F..%2Fetc%2Fpasswd", "a%2Fb", "a/b", "a%b", "%", "%00",
    "C:\\Windows\\win.ini", "..\\..\\boot.ini", "\\", "~root", "$HOME", "`id`", "x?format=tar", "x#y", "a;b", "a&b=c", "a+b", "a b",
    "line\r\nSet-Cookie: a=b", "\r", "\n", "\x1b[31m", "\u202egnp.exe", "\ufeffbom", "e\u0301", "\u00e9", "<script>alert(1)</script>",
    "'; DROP TABLE backups; --", "__proto__", "constructor", "n" * 4096, "d/" * 2047 + "dd", "/..", "x", "//x",
]  # fmt: skip

with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT) as archive:
    for name in NAMES:
        content = b"I am " + name.encode()
        member = tarfile.TarInfo("member")
        member.size = len(content)
        member.pax_headers = {"path": name}
        archive.addfile(member, io.BytesIO(content))
