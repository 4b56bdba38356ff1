"""What a directory holds, one JSON object a line, sorted: tell_tree.py DIRECTORY

Two names of one file have the same `first`: the first name by which it was met.
"""

import base64
import hashlib
import json
import os
import stat
import sys

root = os.fsencode(sys.argv[1])
met = {}


def raw(path):
    return base64.b64encode(path).decode()


def tell(path):
    whole = os.path.join(root, path)
    found = os.lstat(whole)
    is_file = stat.S_ISREG(found.st_mode)
    digest = None
    if is_file:
        with open(whole, "rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "path": raw(path),
        "mode": oct(found.st_mode),
        "owner": [found.st_uid, found.st_gid],
        "mtime_ns": found.st_mtime_ns,
        "device": found.st_rdev,
        "target": raw(os.readlink(whole)) if stat.S_ISLNK(found.st_mode) else None,
        "size": found.st_size if is_file else 0,
        "sha256": digest,
        "first": met.setdefault(found.st_ino, raw(path)),
    }


paths = []
for directory, directories, files in os.walk(root):
    paths += [os.path.relpath(os.path.join(directory, name), root) for name in directories + files]
for path in sorted(paths):
    print(json.dumps(tell(path)))
