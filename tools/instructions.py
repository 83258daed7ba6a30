#!/usr/bin/env python3
"""Counts the instructions of small fixed jobs with valgrind: a guard for speed that no noise disturbs.

    tools/instructions.py            counts, and compares with tools/instructions.json
    tools/instructions.py --update   records the counts as the new reference

Reported, never gated. Valgrind knows AVX2 but not AVX-512, so it is the AVX2 path that is counted, on every
machine alike. Without valgrind it says so and ends well.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
REFERENCE = Path(__file__).with_suffix(".json")


def count(folder, *command):
    """Instructions of one command, in millions."""
    result = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *map(str, command)],
        cwd=folder, text=True, capture_output=True)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode or not found:
        sys.exit(f"instructions: {command[0]} failed:\n{result.stderr[-2000:]}")
    return int(found[1]) / 1e6


def main():
    if not shutil.which("valgrind"):
        print("skipped: instruction counts need valgrind (apt-get install valgrind)")
        return
    beamrail = TARGET / "beamrail"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([beamrail, "simulate", "small.h5", "--width", "256", "--rows", "32", "--angles", "180",
                        "--seed", "1", "--progress", "none"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        job = [beamrail, "reconstruct", "small.h5", "--progress", "none", "--threads", "1", "--overwrite"]
        counts = {
            "reconstruct 256² × 32 rows × 180 angles": count(folder, *job),
            "the same with the centre given": count(folder, *job, "--center", "127.5"),
            "gridrec exact, 512 columns × 400 angles": count(folder, TARGET / "examples/gridrec_bench", 512, 400, 106, 1, 1),
            "gridrec tomopy, the same": count(folder, TARGET / "examples/gridrec_bench", 512, 400, 106, 1, 2),
            "stripes, 512 columns × 400 angles": count(folder, TARGET / "examples/stripes_bench", 512, 400, 1),
        }
    before = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
    print("| job | million instructions | recorded | ratio |\n|---|---|---|---|")
    for name, now in counts.items():
        then = before.get(name)
        print(f"| {name} | {now:.0f} | {then or '-'} | {f'{now / then:.3f}' if then else '-'} |")
    if "--update" in sys.argv[1:]:
        REFERENCE.write_text(json.dumps({name: round(now) for name, now in counts.items()}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
