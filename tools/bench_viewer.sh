#!/usr/bin/env bash
# Measures the viewer on a volume of 2560 x 2560 x 256 voxels, which is simulated and reconstructed in a
# temporary folder (16 GB) and removed: make bench-viewer. With BEAMRAIL_VOLUME=FOLDER, on results at hand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

beamrail="${CARGO_TARGET_DIR:-target}/release/beamrail"
folder=${BEAMRAIL_VOLUME:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d "${TMPDIR:-/tmp}/beamrail-bench.XXXXXX")
    trap 'rm -rf "$folder"' EXIT
    "$beamrail" simulate "$folder/big.h5" --width 2560 --rows 256 --angles 361 --seed 5 >/dev/null
    "$beamrail" reconstruct "$folder/big.h5" -o "$folder" >/dev/null
fi
node tools/bench_viewer.mjs "$folder"
