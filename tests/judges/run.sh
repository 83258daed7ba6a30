#!/usr/bin/env bash
# Lets readers written by others judge what beamrail writes: a small scan is simulated and
# reconstructed with each OME-Zarr version, and judge_volume.py opens the results with tifffile,
# zarr-python, ome-zarr and ngff-zarr.
#
# One line a check, "passed: WHAT", "failed: WHAT" or "skipped: WHAT"; the exit status is 1 if one
# failed. `make judges` installs the readers, `make test` runs this.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

beamrail="${CARGO_TARGET_DIR:-target}/release/beamrail"
python=.tools/judges/bin/python
judge=tests/judges/judge_volume.py
failures=0

# check WHAT COMMAND... : runs it, and tells its output only if it failed.
check() {
    local what=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'passed: %s\n' "$what"
    else
        printf '%s\n' "$output" | sed 's/^/    /'
        printf 'failed: %s\n' "$what"
        failures=$((failures + 1))
        return 1
    fi
}

if [ ! -x "$beamrail" ]; then
    printf 'failed: %s is not there; run make build\n' "$beamrail"
    exit 1
fi
if [ ! -x "$python" ] || [ ! -f "$judge" ]; then
    printf 'skipped: the readers are not installed; run make judges\n'
    exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/beamrail-judges.XXXXXX")
trap 'rm -rf "$work"' EXIT

# 300 columns give one lower level, 70 rows two whole slabs of 32 and a short one.
if check "simulate a scan" "$beamrail" simulate "$work/scan.h5" --width 300 --rows 70 --angles 181 --seed 1; then
    for version in 0.4 0.5; do
        out="$work/$version"
        if check "reconstruct to OME-Zarr $version" \
            "$beamrail" reconstruct "$work/scan.h5" -o "$out" --ome-zarr "$version" --write tiff,zarr; then
            check "judge TIFF and OME-Zarr $version" "$python" "$judge" "$out"
            check "verify the manifest of $version" "$beamrail" verify "$out"
        fi
    done
fi

[ "$failures" -eq 0 ]
