"""Makes a tree that holds every kind of member that a tar archive can have: make_tree.py DIRECTORY

`beyond-ustar` holds what the oldest format cannot say. Prints a line for what had to be left out.
"""

import os
import random
import sys

root = os.fsencode(sys.argv[1])
seeded = random.Random(3)


def place(path):
    whole = os.path.join(root, path)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    return whole


def file(path, content=b"content\n", mode=0o644, mtime_ns=1_600_000_000_000_000_000):
    whole = place(path)
    with open(whole, "wb") as out:
        out.write(content)
    os.chmod(whole, mode)
    os.utime(whole, ns=(mtime_ns, mtime_ns))


def sparse(path, size, segments):
    whole = place(path)
    with open(whole, "wb") as out:
        out.truncate(size)
        for offset, length in segments:
            out.seek(offset)
            out.write(seeded.randbytes(length))


def as_root(kind, make):
    """Containers have roots that cannot do everything either."""
    try:
        make()
    except OSError as error:
        print(f"left out: {kind} ({error.strerror})")


for size in (0, 1, 511, 512, 513, 10_240):
    file(b"plain/bytes-%d" % size, seeded.randbytes(size))
file(b"plain/run.sh", b"#!/bin/sh\n", mode=0o4755)
file(b"plain/private", mode=0o600)
os.makedirs(place(b"directories/empty"))
os.makedirs(place(b"directories/sticky"))
os.chmod(place(b"directories/sticky"), 0o1777)
# Longer than two frames of the stored form, text and noise by turns.
text = b"2026-11-23T07:30:00Z INFO nothing to do\n" * 6_554
file(b"large.bin", b"".join(part for _ in range(18) for part in (text, seeded.randbytes(262_144)))[: 9 * 1024 * 1024 + 77])

NAMES = [
    b"with space", b" leading", b"trailing ", "für dich ☃ 日本".encode(), "nfd e\u0301".encode(), b"new\nline", b"tab\t",
    b"back\\slash", b"per%cent", b"%41", b"%2F", b"%", b"plus+and&q=1", b"what?x=1", b"hash#tag", b";semi:colon", b"quote'\"",
    b"-dash", b"--checkpoint=1", b".hidden", b"..double", b"...", b"latin-\xe9", b"\xff\xfe", b"\x01control", b"\x7f", b"*",
    b"[a-z]", b"{}", b"~", b"a.tar.gz", b"n" * 99, b"n" * 100, b"page.html",
]
for name in NAMES:
    file(b"names/" + name, b"I am " + name)

os.makedirs(place(b"links/directory"))
file(b"links/directory/inside")
for name, target in {
    b"file": b"../plain/bytes-513", b"directory-link": b"directory", b"dangling": b"no such file", b"up": b"../..",
    b"absolute": b"/etc/passwd", b"itself": b"itself", b"bytes": b"\xff\xfe", b"unicode": "für dich".encode(), b"long": b"t" * 100,
}.items():
    os.symlink(target, place(b"links/" + name))
os.link(place(b"plain/bytes-10240"), place(b"links/hard-one"))
os.link(place(b"plain/bytes-10240"), place(b"a-hard-one"))
os.link(place(b"plain/bytes-0"), place(b"links/hard-empty"))

os.mkfifo(place(b"special/fifo"))
os.makedirs(place(b"special/none"))
as_root("character", lambda: os.mknod(place(b"special/character"), 0o20644, os.makedev(1, 3)))
as_root("block", lambda: os.mknod(place(b"special/block"), 0o60640, os.makedev(259, 70_000)))

KIB = 1024
sparse(b"sparse/middle", 3000 * KIB + 5, [(1000 * KIB, 9 * KIB + 3)])
sparse(b"sparse/hole", 1024 * KIB, [])
sparse(b"sparse/end", 700 * KIB, [(700 * KIB - 10, 10)])
sparse(b"sparse/start-and-hole", 700 * KIB + 1, [(0, 10)])
# More segments than a header and its first further block hold.
sparse(b"sparse/many", 3000 * KIB, [(64 * KIB * at, 4 * KIB + at) for at in range(1, 45)])

file(b"beyond-ustar/" + b"n" * 101)
file(b"beyond-ustar/" + b"n" * 255)
file(b"beyond-ustar/" + b"/".join([b"deep-%d-" % at + b"d" * 60 for at in range(9)]) + b"/file")
os.symlink(b"t" * 101, place(b"beyond-ustar/long-target"))
os.symlink(b"../" * 400 + b"end", place(b"beyond-ustar/longest-target"))
os.link(place(b"beyond-ustar/" + b"n" * 255), place(b"beyond-ustar/to-" + b"n" * 252))
file(b"beyond-ustar/before-1970", mtime_ns=-1_500_000_000)
file(b"beyond-ustar/second-before-1970", mtime_ns=-1_000_000_000)
file(b"beyond-ustar/fraction", mtime_ns=1_600_000_000_123_456_789)
file(b"beyond-ustar/year-2300", mtime_ns=10_413_792_000_000_000_000)
# Beyond the 7 octal digits of its field; bsdtar and GNU tar write it in ways of their own.
file(b"beyond-ustar/large-owner")
as_root("an owner's large number", lambda: os.chown(place(b"beyond-ustar/large-owner"), 3_000_000, 2_500_000))
