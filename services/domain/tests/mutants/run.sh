#!/usr/bin/env bash
# Takes one guard after the other out of a copy of the crate and expects the property tests to notice.
#
# Each *.patch beside this script removes one guard; its name begins with the invariant that the guard keeps; `owners-`
# are those of the owners of slots, some of them guards of the modelled store and shell. Run all, or those whose names
# contain the first argument. Fails when a mutant lives, does not build or no longer applies.
# STOKER_HISTORIES sets how hard the tests look (2,000 histories each unless set).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
crate=$(cd "$here/../.." && pwd)
root=$(cd "$crate/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/mutants
export STOKER_HISTORIES=${STOKER_HISTORIES:-2000} PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0
# Each mutant is built once and run once: half the optimization, and no more than changed.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_INCREMENTAL=true

# A workspace of this crate alone: the others need not be built, nor be buildable.
mkdir -p "$copy/services"
awk '/^members = \[/ { print "members = [\"services/domain\"]"; skip = 1 }
     skip { if (/\]/) skip = 0; next }
     /^default-members/ { next }
     { print }' "$root/Cargo.toml" >"$copy/Cargo.toml"
cp "$root/Cargo.lock" "$copy/"
cp -r "$crate" "$copy/services/domain"
# What every mutant starts from, whatever is edited meanwhile.
cp -r "$crate/src" "$copy/src"
cp -r "$crate/tests/ownership" "$copy/ownership"
cp -r "$here" "$copy/mutants"
cd "$copy/services/domain"
rm -f tests/*.regressions

tests() { # of which mutants, arguments
    local name=$1
    shift
    case $name in
    owners-*)
        # Histories are beside the point: what there is to be met is met in all interleavings.
        cargo test --quiet --release --lib "$@" ownership &&
            STOKER_HISTORIES=50 timeout 600 cargo test --quiet --release --test ownership "$@"
        ;;
    *) cargo test --quiet --release --test properties "$@" ;;
    esac
}

for some in owners-none none; do
    if ! tests "$some" >"$copy/log" 2>&1; then
        cat "$copy/log"
        echo "the tests fail without any mutant" >&2
        exit 1
    fi
done

lived=0
for patch in "$copy/mutants"/*"${1:-}"*.patch; do
    name=$(basename "$patch" .patch)
    if ! patch --quiet --strip=1 --fuzz=0 --no-backup-if-mismatch <"$patch" >"$copy/log" 2>&1; then
        verdict="DOES NOT APPLY"
    elif ! tests "$name" --no-run >"$copy/log" 2>&1; then
        verdict="DOES NOT BUILD"
    elif tests "$name" >"$copy/log" 2>&1; then
        verdict="LIVED"
    else
        why=$(sed -n '/^Test failed: \|^[a-z ]*: all is settled[^:]*: \|^[a-z ]*: no promise[^:]*: /{s/^[^:]*: //;s/\(.\{96\}\).*/\1/;p;q}' "$copy/log")
        verdict="noticed: $why"
    fi
    printf '%-50s %s\n' "$name" "$verdict"
    case $verdict in noticed*) ;; *) lived=$((lived + 1)) ;; esac
    # What was kept of one mutant's failures would be tried on the next.
    rm -rf src tests/ownership tests/*.regressions
    cp -r "$copy/src" src
    cp -r "$copy/ownership" tests/ownership
    # Else cargo takes the restored files, older than the build, for unchanged.
    find src tests/ownership -name '*.rs' -exec touch {} +
done
if [ "$lived" -gt 0 ]; then
    echo "$lived mutants were not noticed" >&2
    exit 1
fi
