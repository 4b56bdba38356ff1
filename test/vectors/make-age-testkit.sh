#!/bin/sh
# Makes age-testkit.ts: of the age authors' own vectors those that an X25519 identity is for.
#   git clone https://github.com/C2SP/CCTV
#   sh test/vectors/make-age-testkit.sh CCTV
# The argument is that clone (its 1e3d286 of June 2026 was used). Left out are those of other keys, and of the armor
# that is refused as a whole.
set -eu
vectors=$(cd "$1/age/testdata" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C
cd "$work"

cat > age-testkit.ts <<'END_OF_HEAD'
// Made by make-age-testkit.sh. Not to be edited.
// From the age test vectors of C2SP/CCTV. Copyright (c) 2022 The age Authors. Zero-Clause BSD, CC0 1.0 or Unlicense.

export interface TestkitVector {
  readonly name: string;
  readonly expect: 'success' | 'no match' | 'HMAC failure' | 'header failure' | 'payload failure' | 'armor failure';
  /** Of what may come out, also before a failure. */
  readonly sha256: string | null;
  readonly identity: string;
  readonly isDeflated: boolean;
  readonly base64: string;
}

export const testkit: readonly TestkitVector[] = [
END_OF_HEAD
for file in "$vectors"/*; do
  name=$(basename "$file")
  sed '/^$/q' "$file" > head
  field() { sed -n "s/^$1: //p" head | head -n 1; }
  case $name in hybrid* | armor* | stream_257_chunks_full | stream_258*) [ "$name" = armor_x25519 ] || continue ;; esac
  case $(field identity) in AGE-SECRET-KEY-1*) ;; *) continue ;; esac
  cat >> age-testkit.ts <<END_OF_ROW
  {
    name: '$name',
    expect: '$(field expect)',
    sha256: $(field payload | sed "s/.*/'&'/" | grep . || echo null),
    identity: '$(field identity)',
    isDeflated: $([ -n "$(field compressed)" ] && echo true || echo false),
    base64:
      '$(tail -c "+$(($(wc -c < head) + 1))" "$file" | base64 -w 0)',
  },
END_OF_ROW
done
echo '];' >> age-testkit.ts
mv age-testkit.ts "$here/age-testkit.ts"
