#!/bin/sh
# Makes seekable.ts: files in the zstd seekable format that others' encoders wrote.
#   git clone https://github.com/facebook/zstd
#   sh test/vectors/make-seekable.sh zstd
# The argument is that clone (its 1.5.6 of October 2024 was used): built here by make and gcc, with a few lines of ours
# that call its contrib/seekable_format.
set -eu
zstd=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > pack.c <<'END'
/* pack LEVEL CHECKSUMS FRAME_BYTES FLUSH_BYTES < content > file; ends a frame every FLUSH_BYTES of input too. */
#include <stdio.h>
#include <stdlib.h>
#define ZSTD_STATIC_LINKING_ONLY
#include "zstd.h"
#include "zstd_seekable.h"

static char in[1 << 16], out[1 << 17];

static size_t check(size_t code) {
  if (ZSTD_isError(code)) { fprintf(stderr, "%s\n", ZSTD_getErrorName(code)); exit(1); }
  return code;
}

int main(int argc, char **argv) {
  size_t flush = argc > 4 ? (size_t)atoi(argv[4]) : sizeof in, length, left;
  ZSTD_seekable_CStream *stream = ZSTD_seekable_createCStream();
  check(ZSTD_seekable_initCStream(stream, atoi(argv[1]), atoi(argv[2]), (unsigned)atoi(argv[3])));
  while ((length = fread(in, 1, flush, stdin)) > 0) {
    ZSTD_inBuffer input = { in, length, 0 };
    while (input.pos < input.size) {
      ZSTD_outBuffer output = { out, sizeof out, 0 };
      check(ZSTD_seekable_compressStream(stream, &output, &input));
      fwrite(out, 1, output.pos, stdout);
    }
    if (argc > 4) {
      do {
        ZSTD_outBuffer output = { out, sizeof out, 0 };
        left = check(ZSTD_seekable_endFrame(stream, &output));
        fwrite(out, 1, output.pos, stdout);
      } while (left > 0);
    }
  }
  do {
    ZSTD_outBuffer output = { out, sizeof out, 0 };
    left = check(ZSTD_seekable_endStream(stream, &output));
    fwrite(out, 1, output.pos, stdout);
  } while (left > 0);
  ZSTD_seekable_freeCStream(stream);
  return 0;
}
END
[ -f "$zstd/lib/libzstd.a" ] || make -C "$zstd/lib" libzstd.a > /dev/null
seekable=$zstd/contrib/seekable_format
gcc -O1 -I "$zstd/lib" -I "$zstd/lib/common" -I "$seekable" -DXXH_NAMESPACE=ZSTD_ \
  -o pack pack.c "$seekable/zstdseek_compress.c" "$zstd/lib/libzstd.a"

# A log of 26 KB in which little repeats.
awk 'BEGIN { for (i = 0; i < 700; i++) printf "%d GET /item/%d took %d ms\n", i, (i * 7919) % 10007, (i * i) % 977 }' > small
: > empty

add() { # name, content, frames, checksums, then what makes it from the content on stdin
  name=$1 content=$2 frames=$3 checksums=$4
  shift 4
  "$@" < "$content" > out.zst
  zstd -q -t out.zst
  cat >> seekable.ts <<END
  {
    name: '$name',
    contentBytes: $(wc -c < "$content"),
    sha256: '$(sha256sum < "$content" | cut -d ' ' -f 1)',
    frames: $frames,
    hasChecksums: $checksums,
    base64:
      '$(base64 -w 0 out.zst)',
  },
END
}

cat > seekable.ts <<'END'
// Made by make-seekable.sh. Not to be edited.
import type { Vector } from './zstd.ts';

export interface SeekableVector extends Vector {
  readonly frames: number;
  readonly hasChecksums: boolean;
}

export const seekableVectors: readonly SeekableVector[] = [
END
bytes=$(wc -c < small)
count() { echo $(((bytes + $1 - 1) / $1)); }
add 'frames of 4096 bytes, with checksums' small "$(count 4096)" true ./pack 3 1 4096
add 'frames of 4096 bytes, without checksums' small "$(count 4096)" false ./pack 3 0 4096
add 'frames of 1000 bytes, with checksums' small "$(count 1000)" true ./pack 9 1 1000
add 'one frame, with checksums' small 1 true ./pack 3 1 1000000
add 'one frame, without checksums' small 1 false ./pack 3 0 1000000
# The last frame of these is ended twice, so an empty one follows.
add 'frames of 3000 and 1096 bytes in turn, and an empty one' small \
  "$((bytes / 4096 * 2 + (bytes % 4096 > 3000 ? 2 : 1) + 1))" true ./pack 3 1 3000 4096
add 'an empty file' empty 1 true ./pack 3 1 4096
echo '];' >> seekable.ts
mv seekable.ts "$here/seekable.ts"
