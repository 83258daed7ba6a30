#!/usr/bin/env bash
# Lets readers written by others judge what beamrail writes: a small scan is simulated and
# reconstructed with each OME-Zarr version, sample volumes are written with known voxels, and
# judge_volume.py opens them with tifffile, zarr-python, ome-zarr, ome-zarr-models and ngff-zarr.
#
# One line a check, "passed: WHAT", "failed: WHAT" or "skipped: WHAT"; the exit status is 1 if one
# failed. `make judges` installs the readers, `make test` runs this.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

release="${CARGO_TARGET_DIR:-target}/release"
beamrail="$release/beamrail"
sample="$release/examples/write_sample"
python=.tools/judges/bin/python
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

# judge WHAT FOLDER [FLAG...] : what judge_volume.py says about a results folder, one check a line.
judge() {
    local what=$1 output status
    shift
    output=$("$python" tests/judges/judge_volume.py "$@" 2>&1)
    status=$?
    printf '%s\n' "$output" | sed -e "s|^ok  *|passed: $what: |;t" -e "s|^FAIL  *|failed: $what: |;t" -e 's/^/    /'
    if [ "$status" -ne 0 ]; then
        failures=$((failures + 1))
        printf '%s\n' "$output" | grep -q '^FAIL ' || printf 'failed: %s: the judge itself failed\n' "$what"
    fi
}

for needed in "$beamrail" "$python"; do
    if [ ! -x "$needed" ]; then
        printf 'failed: %s is not there; run make build judges\n' "$needed"
        exit 1
    fi
done

work=$(mktemp -d "${TMPDIR:-/tmp}/beamrail-judges.XXXXXX")
trap 'rm -rf "$work"' EXIT

# 300 columns give one lower level, 70 rows two whole slabs of 32 and a short one.
if check "simulate a scan" "$beamrail" simulate "$work/scan.h5" --width 300 --rows 70 --angles 361 --seed 1; then
    for version in 0.4 0.5; do
        if check "reconstruct to OME-Zarr $version" \
            "$beamrail" reconstruct "$work/scan.h5" -o "$work/$version" --ome-zarr "$version" --write tiff,zarr; then
            judge "scan $version" "$work/$version"
            check "verify scan $version" "$beamrail" verify "$work/$version"
            check "scan $version: zarr-python reads it by a link of the viewer" \
                "$python" tests/judges/judge_link.py "$beamrail" "$work/$version"
        fi
    done
fi

# The example is built with the whole workspace: alone, its crates would be compiled once more with
# fewer features.
if check "build the sample writer" "${CARGO:-cargo}" build --quiet --release --locked --workspace --example write_sample; then
    check "write a ramp" "$sample" "$work/ramp4" --ramp && judge "ramp 0.4" "$work/ramp4" --ramp --voxel-um 0.65
    check "write a ramp, 0.5, odd sizes" "$sample" "$work/ramp5" --ramp --ome-zarr 0.5 --shape 33,259,515 &&
        judge "ramp 0.5" "$work/ramp5" --ramp --voxel-um 0.65
    check "write 16-bit voxels of unknown size" \
        "$sample" "$work/u16" --dtype uint16 --pixel-units --row-step 2 --shape 40,300,300 && judge "uint16" "$work/u16"
fi

[ "$failures" -eq 0 ]
