#!/bin/sh
# Makes zstd.ts: files of the zstd command line (1.5.4 of Debian 12 was used), with the digest of what they hold.
# Run it where zstd, awk, base64 and sha256sum are: sh test/vectors/make.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# A log of 26 KB in which little repeats, and one of 20 MB that repeats every 30 KB.
awk 'BEGIN { for (i = 0; i < 700; i++) printf "%d GET /item/%d took %d ms\n", i, (i * 7919) % 10007, (i * i) % 977 }' > small
awk 'BEGIN { for (i = 0; i < 800000; i++) printf "%d item %d of the list\n", i % 97, (i * 7919) % 13 }' > large
: > empty

pack() { # name, content, then what makes it
  name=$1 content=$2
  shift 2
  "$@" > out.zst
  cat >> zstd.ts <<END
  {
    name: '$name',
    contentBytes: $(wc -c < "$content"),
    sha256: '$(sha256sum < "$content" | cut -d ' ' -f 1)',
    base64:
      '$(base64 -w 0 out.zst)',
  },
END
}
from_stdin() { content=$1; shift; cat "$content" | zstd -q -c "$@"; }

cat > zstd.ts <<'END'
// Made by make.sh. Not to be edited.
export interface Vector {
  readonly name: string;
  readonly contentBytes: number;
  readonly sha256: string;
  readonly base64: string;
}

export const vectors: readonly Vector[] = [
END
for level in 1 3 9 19; do pack "level $level" small zstd -q -c -$level small; done
pack 'level 3 without checksum' small zstd -q -c -3 --no-check small
pack 'level 3 from stdin' small from_stdin small -3
pack 'level 19 from stdin without checksum' small from_stdin small -19 --no-check
pack 'an empty file' empty zstd -q -c empty
pack 'nothing from stdin' empty from_stdin empty
pack 'large, level 3' large zstd -q -c -3 large
pack 'large, level 19' large zstd -q -c -19 large
pack 'large, level 3 from stdin' large from_stdin large -3
pack 'large, level 9 from stdin without checksum' large from_stdin large -9 --no-check
pack 'large, level 19 from stdin' large from_stdin large -19
cat >> zstd.ts <<'END'
];

/** Windows of more than 8 MiB. */
export const refused: readonly Vector[] = [
END
pack 'large, --long=27' large zstd -q -c -3 --long=27 large
pack 'small from stdin, --long=27' small from_stdin small --long=27
pack 'large, --ultra -22' large zstd -q -c --ultra -22 large
echo '];' >> zstd.ts
mv zstd.ts "$here/zstd.ts"
