#!/usr/bin/env bash
# What `make bench` runs: builds the floors beside the binary, then measures. Arguments go to bench.py.
set -euo pipefail
cd "$(dirname "$0")/.."
"${CARGO:-cargo}" build --release --locked --package beamrail --package beamrail-reconstruct --package beamrail-tomo --examples
"${CARGO:-cargo}" build --release --locked --package beamrail
exec "${PYTHON:-python3}" tools/bench.py "$@"
