#!/usr/bin/env bash
# The pages in a real browser: is the committed build of ui/ what its sources give, and do the pages do what
# they should? Every *.test.mjs of this folder is run on the real binary.
#
# One line a check, "passed: WHAT", "failed: WHAT" or "skipped: WHAT"; the exit status is 1 if one failed.
# `make browser` installs Chromium and ui/node_modules, `make test` runs this.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

failures=0
for needed in "${CARGO_TARGET_DIR:-target}/release/beamrail" ui/node_modules/playwright-core; do
    if [ ! -e "$needed" ]; then
        printf 'failed: %s is not there; run make build browser\n' "$needed"
        exit 1
    fi
done

work=$(mktemp -d "${TMPDIR:-/tmp}/beamrail-browser.XXXXXX")
trap 'rm -rf "$work"' EXIT

if (cd ui && npx --no-install tsc --noEmit && npx --no-install vite build --outDir "$work/dist" --emptyOutDir) >"$work/log" 2>&1 &&
    diff -r ui/dist "$work/dist" >>"$work/log" 2>&1; then
    echo "passed: ui/dist is what ui/src gives"
else
    sed 's/^/    /' "$work/log" | cut -c 1-300 | tail -n 20
    echo "failed: ui/dist is not what ui/src gives; run make ui, and commit ui/dist"
    failures=1
fi

for test in tests/browser/*.test.mjs; do
    timeout 300 node "$test" || failures=1
done
exit $failures
