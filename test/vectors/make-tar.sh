#!/bin/sh
# Makes tar.ts: archives of GNU tar (1.34), bsdtar (libarchive 3.6.2) and Python's tarfile (3.11), of Debian 12, each
# with what Python lists of it, checked against what GNU tar lists. Run it as root, which devices and owners need, on a
# file system with holes: sh test/vectors/make-tar.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C.UTF-8 TZ=UTC
mkdir out plain full sparse

# What every format can tell.
cd plain
mkdir -m 750 folder
printf 'one file' > folder/small
: > folder/empty
head -c 512 /dev/zero | tr '\0' b > folder/block
head -c 513 /dev/zero | tr '\0' c > folder/block-and-one
ln -s folder/small symbolic
ln folder/small hard
mkfifo pipe
name90=$(printf 'n%.0s' $(seq 90))
printf 90 > "$name90"
chmod 4711 folder/block
chown -h -R 1000:100 .
find . -exec touch -h -d '2024-02-03T04:05:06Z' {} +
mknod character c 5 1
mknod disk b 8 17
touch -d '2024-02-03T04:05:07Z' character disk .
cd ..

# What only some can.
cp -a plain/. full
cd full
name100=$(printf 'h%.0s' $(seq 100))
name200=$(printf 'l%.0s' $(seq 200))
printf 100 > "$name100"
printf 101 > "${name100}i"
mkdir "$name200"
printf long > "$name200/$name200"
mkdir "$name200/$name100"
printf 301 > "$name200/$name100/x"
ln -s "$name200/$name200/target" long-symbolic
ln "$name200/$name200" long-hard
printf umlaut > "$(printf 'gr\303\274n \360\237\214\262')"
printf latin > "$(printf 'gr\374n')"
printf latin > "$(printf 'gr\374n-')$name200"
ln -s "$(printf 'gr\374n')" latin-symbolic
printf newline > "$(printf 'a\nb')"
printf owner > owner
chown 3000000:4000000 owner
printf early > early
touch -d '1969-12-31T23:59:58.25Z' early
printf precise > precise
touch -d '2024-02-03T04:05:06.123456789Z' precise
printf far > far
touch -d '2300-01-01T00:00:00Z' far
cd ..

python3 - <<'END'
import os
# Deeper than a path that the kernel takes.
os.chdir('full')
for _ in range(21):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
open('deep', 'w').write('deep')
os.chdir(os.environ['PWD'])
for path in os.listdir('full'):
    if path not in ('early', 'precise', 'far', 'character', 'disk'):
        os.utime('full/' + path, (1706933106, 1706933106), follow_symlinks=False)

def sparse(name, size, segments):
    with open('sparse/' + name, 'wb') as f:
        f.truncate(size)
        for i, (offset, length) in enumerate(segments):
            f.seek(offset)
            f.write(bytes([97 + i % 26]) * length)
K = 1024
sparse('data-first', 256 * K, [(0, 4 * K), (100 * K, 8 * K)])
sparse('hole-first', 200 * K + 77, [(64 * K, 4 * K), (200 * K, 77)])
sparse('many', 41 * 8 * K, [(i * 8 * K, 4 * K) for i in range(40)])
sparse('only-a-hole', 300 * K, [])
open('sparse/no-hole', 'wb').write(b'no hole' * 100)
for name in os.listdir('sparse'):
    os.utime('sparse/' + name, (1700000000, 1700000000))
os.utime('sparse', (1700000000, 1700000000))
os.utime('full', (1700000000, 1700000000))
END

gnu() { format=$1 tree=$2; shift 2; tar --format="$format" --sort=name --numeric-owner -C "$tree" -cf - "$@" .; }
bsd() { format=$1 tree=$2; shift 2; bsdtar --format="$format" --numeric-owner -C "$tree" -cf - "$@" .; }

gnu v7 plain --exclude=character --exclude=disk --exclude=pipe > 'out/GNU tar, v7'
gnu ustar plain > 'out/GNU tar, ustar'
gnu oldgnu full > 'out/GNU tar, oldgnu'
gnu gnu full > 'out/GNU tar, gnu'
gnu pax full --pax-option=delete=atime,delete=ctime > 'out/GNU tar, pax'
gnu gnu sparse --sparse > 'out/GNU tar, old sparse'
for version in 0.0 0.1 1.0; do gnu pax sparse --sparse --sparse-version=$version > "out/GNU tar, sparse $version"; done
gnu gnu plain --label=label > 'out/GNU tar, with a label'
gnu gnu plain --listed-incremental=state > 'out/GNU tar, incremental'
cp 'out/GNU tar, ustar' 'out/GNU tar, duplicates'
tar -C plain --format=ustar -rf 'out/GNU tar, duplicates' ./folder ./hard
cat 'out/GNU tar, v7' 'out/GNU tar, sparse 0.1' 'out/GNU tar, ustar' > 'out/GNU tar, three in one'
python3 -c "
import sys
data = open('out/GNU tar, gnu', 'rb').read().rstrip(b'\0')
sys.stdout.buffer.write(data + bytes(-len(data) % 512))" > 'out/GNU tar, without an end'
bsd v7 plain --exclude=character --exclude=disk --exclude=pipe > 'out/bsdtar, v7'
bsd ustar plain > 'out/bsdtar, ustar'
bsd gnutar full > 'out/bsdtar, gnutar'
bsd pax full > 'out/bsdtar, pax'
bsd pax sparse > 'out/bsdtar, sparse'

python3 - "$here/tar.ts" <<'END'
import base64, gzip, hashlib, io, json, os, re, subprocess, sys, tarfile

def write(name, format, **options):
    with tarfile.open('out/' + name, 'w', format=format, encoding='utf-8', errors='surrogateescape', **options) as tar:
        for entry in sorted(os.listdir('plain')):
            tar.add('plain/' + entry, 'plain/' + entry)
        def add(path, content=b'', **fields):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
        if format == tarfile.USTAR_FORMAT:
            add('p' * 150 + '/' + 'n' * 100, b'prefix')
            return
        add('d/' * 3000 + 'deep', b'deep', mtime=-1000000, uid=2**31, gid=2**40)
        add('link', type=tarfile.SYMTYPE, linkname='t' * 5000)
        add('hard', type=tarfile.LNKTYPE, linkname='d/' * 3000 + 'deep')
        add('gr\u00fcn', b'umlaut', mtime=2**40)
        add('gr\udcfcn', b'latin')
        add('empty directory/', type=tarfile.DIRTYPE)

write('Python, ustar', tarfile.USTAR_FORMAT)
write('Python, gnu', tarfile.GNU_FORMAT)
write('Python, pax', tarfile.PAX_FORMAT)
write('Python, pax with a global header', tarfile.PAX_FORMAT, pax_headers={'comment': 'all of them', 'uid': '77'})

TYPES = {b'0': 'file', b'\0': 'file', b'1': 'hardlink', b'2': 'symlink', b'3': 'character', b'4': 'block',
         b'5': 'directory', b'6': 'fifo', b'D': 'directory', b'S': 'sparse'}

def bytes_of(text):
    return list(os.fsencode(text)) if any(ord(c) > 126 for c in text) else text

def mtime_of(info):
    told = info.pax_headers.get('mtime')
    if told is None:
        return [info.mtime, 0]
    sign, whole, fraction = re.fullmatch(r'(-?)(\d+)(?:\.(\d+))?', told).groups()
    nanos = int(whole) * 10**9 + int(((fraction or '') + '0' * 9)[:9])
    return list(divmod(-nanos if sign else nanos, 10**9))

def listing(file):
    members = []
    with tarfile.open(file, encoding='utf-8', errors='surrogateescape', ignore_zeros=True, errorlevel=2) as tar:
        for info in tar:
            if info.type in (b'V', b'M', b'N'):
                continue
            kind = 'sparse' if info.sparse is not None else TYPES[info.type]
            content = tar.extractfile(info).read() if kind in ('file', 'sparse') else b''
            if kind == 'sparse':
                assert content == open('sparse/' + info.name.removeprefix('./'), 'rb').read(), info.name
            # Python takes the times that GNU keeps in incremental archives for a prefix.
            name = re.sub('^[0-7]{11}/', '', info.name).rstrip('/')
            members.append({
                'path': bytes_of(name), 'type': kind, 'size': info.size if kind in ('file', 'sparse') else 0,
                'mode': info.mode & 0o7777, 'uid': info.uid, 'gid': info.gid, 'mtime': mtime_of(info),
                'linkTarget': bytes_of(info.linkname) if kind in ('hardlink', 'symlink') else None,
                'device': [info.devmajor, info.devminor] if kind in ('character', 'block') else None,
                'headerOffset': info.offset, 'sha256': hashlib.sha256(content).hexdigest()[:16],
            })
    listed = subprocess.run(['tar', '-itf', file, '--quoting-style=escape'], capture_output=True)
    lines = [line for line in listed.stdout.splitlines() if line != b'label']
    assert len(lines) == len(members), (file, len(lines), len(members))
    return members

def packed(data):
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()

with open(sys.argv[1], 'w') as out:
    out.write('''// Made by make-tar.sh. Not to be edited.
export interface ListedMember {
  /** Text where it is ASCII, else bytes. */
  readonly path: string | readonly number[];
  readonly type: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds, nanoseconds. */
  readonly mtime: readonly [number, number];
  readonly linkTarget: string | readonly number[] | null;
  readonly device: readonly [number, number] | null;
  readonly headerOffset: number;
  /** The first 16 digits, of the content with its holes. */
  readonly sha256: string;
}

export interface TarVector {
  readonly name: string;
  /** Gzip of the archive. */
  readonly archive: string;
  /** Gzip of its members in JSON. */
  readonly listing: string;
}

export const tarVectors: readonly TarVector[] = [
''')
    for name in sorted(os.listdir('out')):
        archive = open('out/' + name, 'rb').read()
        members = listing('out/' + name)
        print(f'{name}: {len(archive)} bytes, {len(members)} members', file=sys.stderr)
        out.write(f"  {{\n    name: '{name}',\n    archive:\n      '{packed(archive)}',\n")
        out.write(f"    listing:\n      '{packed(json.dumps(members).encode())}',\n  }},\n")
    out.write('];\n')
END
