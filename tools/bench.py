#!/usr/bin/env python3
"""Measures a reconstruction and the floors under it, and appends the table to BENCHMARKS.md.

    tools/bench.py [--width 2560 --angles 1313 --rows 128] [--memory 2GiB] [--dir DIR] [--dry]

Everything is measured in one run, because machines differ from hour to hour. `--dry` prints only.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# TomoPy 1.15 with MKL and ngff-zarr, in units of the ruler (one scipy fft2 of 4096 x 4096 complex64).
TOMOPY_ALL, TOMOPY_GRIDREC = 5.44, 1.2
RULER = """
import time, numpy, scipy.fft
a = numpy.ones((4096, 4096), numpy.complex64)
scipy.fft.fft2(a, workers=1)
best = 9e9
for _ in range(3):
    t = time.perf_counter(); scipy.fft.fft2(a, workers=1); best = min(best, time.perf_counter() - t)
print(best)
"""


def run(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE, **more).stdout


def ruler():
    """Seconds of scipy's fft2, or None where no Python here has scipy."""
    for python in [ROOT / ".tools/judges/bin/python", sys.executable]:
        # A setting that slows a library down would flatter us.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        result = subprocess.run([str(python), "-c", RULER], capture_output=True, text=True, env=clean)
        if result.returncode == 0:
            return float(result.stdout)
    return None


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.machine()}, {os.cpu_count()} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2560)
    parser.add_argument("--angles", type=int, default=1313)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--dir", help="folder for the files, several GB [default: a temporary one]")
    parser.add_argument("--dry", action="store_true", help="do not append to BENCHMARKS.md")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="beamrail-bench-", dir=options.dir))
    try:
        table = measure(options, folder)
    finally:
        shutil.rmtree(folder)
    print(table)
    if not options.dry:
        with (ROOT / "BENCHMARKS.md").open("a") as file:
            file.write("\n" + table)


def measure(options, folder):
    beamrail = TARGET / "beamrail"
    scan = folder / "bench.h5"
    run(beamrail, "simulate", scan, "--width", options.width, "--rows", options.rows, "--angles", options.angles,
        "--seed", 1, "--progress", "none")
    began = time.time()
    made = json.loads(run(beamrail, "reconstruct", scan, "-o", folder / "out", "--memory", options.memory,
                          "--recipe", options.recipe, "--json", "--progress", "none"))
    wall = time.time() - began
    report = json.loads((folder / "out/recbench.report.json").read_text())
    per_row_bytes = made["bytes"] // options.rows
    floors = json.loads(run(TARGET / "examples/floors", options.width, options.angles, per_row_bytes, folder))
    fft2 = ruler()

    rows = options.rows
    lines = [
        f"### {datetime.date.today()}, {options.width} columns × {options.angles} angles × {rows} rows, recipe {options.recipe}",
        "",
        f"{machine()}; commit {commit()}; `--memory {options.memory}`; one run, everything in it.",
        "",
        "| stage | CPU s per row | thread s per row |",
        "|---|---|---|",
    ]
    for stage in report["stages"]:
        lines.append(f"| {stage['stage']} | {stage['cpu_s'] / rows:.4f} | {stage['busy_s'] / rows:.4f} |")
    lines += [
        f"| **everything, fsync included** | **{report['cpu_s'] / rows:.4f}** | wall {wall / rows:.4f} |",
        "",
        "| floor | s per row |",
        "|---|---|",
        f"| transforms: {options.angles} lines of {floors['line_length']} | {floors['fft_lines_s']:.4f} |",
        f"| transforms: plane of {floors['grid']}², pruned | {floors['fft_plane_s']:.4f} |",
        f"| memory traffic, {floors['traffic_bytes'] / 1e6:.0f} MB at {floors['memory_bytes_per_s'] / 1e9:.1f} GB/s | {floors['memory_s']:.4f} |",
        f"| writing {per_row_bytes / 1e6:.0f} MB to the same disk, without sync | {floors['disk_handed_s']:.4f} |",
        f"| writing {per_row_bytes / 1e6:.0f} MB to the same disk, with sync | {floors['disk_synced_s']:.4f} |",
        "",
        f"Peak memory {report['peak_memory'] / 2**30:.2f} GiB (budget {options.memory}); "
        f"read {report['bytes_input'] / 1e9:.2f} GB, wrote {made['bytes'] / 1e9:.2f} GB.",
    ]
    if fft2:
        gridrec = next(s["cpu_s"] for s in report["stages"] if s["stage"] == "gridrec") / rows
        lines += [
            "",
            f"Ruler (scipy fft2 of 4096², one thread): {fft2:.3f} s, so TomoPy + ngff-zarr would take "
            f"{TOMOPY_ALL * fft2:.2f} CPU s per row and its gridrec {TOMOPY_GRIDREC * fft2:.2f}: everything is at "
            f"1/{TOMOPY_ALL * fft2 / (report['cpu_s'] / rows):.1f}, gridrec at 1/{TOMOPY_GRIDREC * fft2 / gridrec:.1f}.",
        ]
    return "\n".join(lines) + "\n"


def commit():
    try:
        text = run("git", "-C", ROOT, "describe", "--always", "--dirty", stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return text


if __name__ == "__main__":
    main()
