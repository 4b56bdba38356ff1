#!/bin/sh
# Makes age.ts: files of the age command line (1.1.1 of Debian 12 was used), with the digest of what they hold and the
# keys that open them, which were made for this and open nothing else.
# Run it where age, script (of bsdutils), awk, base64 and sha256sum are: sh test/vectors/make-age.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# A log of 2 KB.
awk 'BEGIN { for (i = 0; i < 60; i++) printf "%d GET /item/%d took %d ms\n", i, (i * 7919) % 10007, (i * i) % 977 }' > small
: > empty
printf x > one
for i in 1 2 3; do age-keygen -o key$i 2> keygen$i; done
recipient() { age-keygen -y "key$1"; }
identity() { grep AGE- "key$1"; }

pack() { # name, content, then what makes it
  name=$1 content=$2
  shift 2
  "$@" > out.age
  cat >> age.ts <<END
  {
    name: '$name',
    contentBytes: $(wc -c < "$content"),
    sha256: '$(sha256sum < "$content" | cut -d ' ' -f 1)',
    base64:
      '$(base64 -w 0 out.age)',
  },
END
}
from_stdin() { content=$1; shift; age "$@" < "$content"; }
# age asks for the passphrase on the terminal, twice.
with_passphrase() {
  (for _ in 1 2; do sleep 1; echo correct-horse; done; sleep 3) |
    script -qec "age -p -o by-passphrase.age $1" /dev/null > /dev/null
  cat by-passphrase.age
}

cat > age.ts <<END
// Made by make-age.sh. Not to be edited.
import type { Vector } from './zstd.ts';

/** Keys of these vectors alone. */
export const identities = [
  '$(identity 1)',
  '$(identity 2)',
  '$(identity 3)',
] as const;
export const recipients = [
  '$(recipient 1)',
  '$(recipient 2)',
  '$(recipient 3)',
] as const;

/** The first identity opens all of these. */
export const ageVectors: readonly Vector[] = [
END
pack 'small' small age -r "$(recipient 1)" small
pack 'small from stdin' small from_stdin small -r "$(recipient 1)"
pack 'an empty file' empty age -r "$(recipient 1)" empty
pack 'one byte' one age -r "$(recipient 1)" one
pack 'three recipients, ours the first' small age -r "$(recipient 1)" -r "$(recipient 2)" -r "$(recipient 3)" small
pack 'three recipients, ours the last' small age -r "$(recipient 3)" -r "$(recipient 2)" -r "$(recipient 1)" small
pack 'by its identity' small age -e -i key1 small
cat >> age.ts <<'END'
];

/** Of the same format, and not to be opened here. */
export const refusedAge: readonly Vector[] = [
END
pack 'a passphrase' small with_passphrase small
pack 'armor' small age -a -r "$(recipient 1)" small
pack 'the second recipient alone' small age -r "$(recipient 2)" small
echo '];' >> age.ts
mv age.ts "$here/age.ts"
