#!/usr/bin/env python3
"""Measures reconstructions and the floors under them, and appends the tables to BENCHMARKS.md.

    tools/bench.py                     a part of a full-width scan, minutes
    tools/bench.py --full              the record job (2560 columns, 980 rows, 1696 angles) where 90 GB are free, else
                                       the largest multiple of 128 rows of it whose files fit in half the free disk
    tools/bench.py --dry ...           prints, and leaves BENCHMARKS.md alone

Everything is measured in one run, because machines differ from hour to hour. The yardstick is TomoPy with
ngff-zarr: on the first rows of the same scan where BEAMRAIL_TOMOPY_PYTHON names a Python that has them
(tools/bench_tomopy.py), else in units of one scipy fft2 of 4096 × 4096, timed in the same run. Kernels are compared
twice: a call against a call (examples `stripes_bench` and `gridrec_bench`), and as the job's stage.

On the disk at once are the scan and its results, then the scan and TomoPy's results, then one floor file. Our results
are verified against their manifest and deleted before the floor is measured: as many bytes as the job wrote, in the
same folder, with a sync at the end as the job has.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
RECORD = {"width": 2560, "rows": 980, "angles": 1696}
# TomoPy 1.15 with MKL and ngff-zarr, CPU seconds per slice of 2560 columns and 1313 angles in units of the
# ruler: everything, gridrec, Fourier-wavelet stripe removal, OME-Zarr with all levels.
TOMOPY = {"all": 5.44, "gridrec": 1.2, "stripes": 1.14, "zarr": 2.18}
# Bytes that stay free beside the record job: 90 GB have to be there for it.
ROOM = 35e9
# CPU seconds: on a busy machine wall seconds would flatter us.
RULER = """
import time, numpy, scipy.fft
a = numpy.ones((4096, 4096), numpy.complex64)
scipy.fft.fft2(a, workers=1)
best = 9e9
for _ in range(5):
    t = time.process_time(); scipy.fft.fft2(a, workers=1); best = min(best, time.process_time() - t)
print(best)
"""
# Rows of the scan that TomoPy is given; ngff-zarr holds about 90 MB of memory for each.
THEIR_ROWS = 64


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


def theirs(scan, folder):
    """What tools/bench_tomopy.py finds, where there is a Python for it."""
    python = os.environ.get("BEAMRAIL_TOMOPY_PYTHON")
    if not python:
        return {}
    found = run(python, ROOT / "tools/bench_tomopy.py", scan, folder / "theirs", THEIR_ROWS)
    shutil.rmtree(folder / "theirs")
    return json.loads(found.splitlines()[-1])


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.machine()}, {os.cpu_count()} cores"


def commit():
    try:
        return run("git", "-C", ROOT, "describe", "--always", "--dirty", stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def rows_that_fit(options, folder):
    """All rows of the record job, or the largest multiple of 128 whose files fit in half the free disk.

    Of a row there are its counts as uint16, its slice as float32 TIFF, and the same in OME-Zarr with all levels, which
    takes 0.76 of the slice (lossless, on this scan's noise). A floor file is as large as the results and lies there
    alone.
    """
    row_in = options.width * options.angles * 2
    row_out = options.width**2 * 4 * 1.8
    free = shutil.disk_usage(folder).free
    if free >= options.rows * (row_in + row_out) + ROOM:
        return options.rows
    fit = int(free / 2 / (row_in + row_out)) // 128 * 128
    if fit == 0:
        sys.exit(f"bench: {free / 1e9:.0f} GB are free in {folder}; {256 * (row_in + row_out) / 1e9:.0f} GB are needed")
    return min(options.rows, fit)


def calls(options):
    """CPU seconds per slice of the kernels alone: a call on two rows, the fastest of three, as TomoPy's."""
    def best(name, *arguments):
        text = run(TARGET / "examples" / name, options.width, options.angles, *arguments)
        return float(re.search(r"best ([0-9.]+)", text)[1])
    edge = int(-(-options.width * 2**0.5 // 1) - options.width) // 2
    return {"stripes": best("stripes_bench", 3), "gridrec": best("gridrec_bench", edge, 3, 1)}


def estimate(scan, options):
    """What `inspect` says that the job will take, measured by itself on this scan just before."""
    told = json.loads(run(TARGET / "beamrail", "inspect", scan, "--memory", options.memory, "--json", stderr=subprocess.DEVNULL))
    return next(one for one in told["estimate"]["choices"] if one["options"] == "--write tiff,zarr --dtype float32")


def reconstruct(folder, scan, options, *more):
    """One reconstruction: its answer, its report, wall seconds, seconds to the quick look."""
    began = time.time()
    command = [TARGET / "beamrail", "reconstruct", scan, "-o", folder / "out", "--memory", options.memory,
               "--recipe", options.recipe, "--json", "--progress", "json", *more]
    process = subprocess.run([str(c) for c in command], text=True, capture_output=True)
    wall = time.time() - began
    if process.returncode:
        sys.exit(f"bench: {process.stderr.strip().splitlines()[-1]}")
    events = [json.loads(line) for line in process.stderr.splitlines() if line.startswith("{")]
    first = next((event["seconds"] for event in events if event.get("event") == "quick_look"), None)
    report = json.loads((folder / "out/recbench.report.json").read_text())
    return json.loads(process.stdout), report, wall, first


def measure(options, folder):
    scan = folder / "bench.h5"
    rows = options.rows
    run(TARGET / "beamrail", "simulate", scan, "--width", options.width, "--rows", rows, "--angles", options.angles,
        "--seed", 1, "--progress", "none")
    os.sync()
    foretold = estimate(scan, options)
    made, report, wall, first = reconstruct(folder, scan, options)
    per_row = made["bytes"] // rows
    run(TARGET / "beamrail", "verify", folder / "out/recbench.manifest.json", "--progress", "none")
    shutil.rmtree(folder / "out")
    fft2 = ruler()
    alone = calls(options)
    own = theirs(scan, folder)
    scan.unlink()
    os.sync()
    floors = json.loads(run(TARGET / "examples/floors", options.width, options.angles, per_row, folder, rows))
    discarded = scaling(options, folder)

    cpu = {stage["stage"]: stage["cpu_s"] / rows for stage in report["stages"]}
    busy = {stage["stage"]: stage["busy_s"] / rows for stage in report["stages"]}
    total = report["cpu_s"] / rows
    lines = [
        f"### {datetime.date.today()}, {options.width} columns × {options.angles} angles × {rows} rows, recipe {options.recipe}",
        "",
        f"{machine()}; commit {commit()}; `--memory {options.memory}`; one run, everything in it.",
        "",
        "| stage | CPU s per row | thread s per row |",
        "|---|---|---|",
        *[f"| {stage} | {cpu[stage]:.4f} | {busy[stage]:.4f} |" for stage in cpu],
        f"| **everything, fsync included** | **{total:.4f}** | wall {wall / rows:.4f} |",
        "",
        "| floor | s per row |",
        "|---|---|",
        f"| transforms: {options.angles} lines of {floors['line_length']} | {floors['fft_lines_s']:.4f} |",
        f"| transforms: plane of {floors['grid']}², pruned | {floors['fft_plane_s']:.4f} |",
        f"| memory traffic, {floors['traffic_bytes'] / 1e6:.0f} MB at {floors['memory_bytes_per_s'] / 1e9:.1f} GB/s | {floors['memory_s']:.4f} |",
        f"| writing {per_row / 1e6:.0f} MB to the same disk, without sync | {floors['disk_handed_s']:.4f} |",
        f"| the same with sync | {floors['disk_synced_s']:.4f} |",
    ]
    if floors["disk_direct_s"]:
        lines.append(f"| the same past the page cache, with sync | {floors['disk_direct_s']:.4f} |")
    lines += [
        "",
        f"Read {report['bytes_input'] / 1e9:.2f} GB, wrote {made['bytes'] / 1e9:.2f} GB in {wall:.0f} s.",
        "",
        "| figure | measured | goal |",
        "|---|---|---|",
        f"| wall ÷ writing the same bytes and syncing | {wall / rows / floors['disk_synced_s']:.2f} | ≤ 1.25 |",
        f"| peak memory | {report['peak_memory'] / 2**30:.2f} GiB | ≤ 2 GiB |",
    ]
    if floors["disk_direct_s"]:
        lines.append(f"| the same, written past the page cache | {wall / rows / floors['disk_direct_s']:.2f} | |")
    if first is not None:
        lines.append(f"| first slice after | {first:.1f} s | ≤ 5 s |")
    for what, told, came, unit in [
        ("time", foretold["seconds"], wall, "s"),
        ("memory", foretold["memory_bytes"] / 2**30, report["peak_memory"] / 2**30, "GiB"),
        ("bytes", (foretold["tiff_bytes"] + foretold["zarr_bytes"]) / 1e9, made["bytes"] / 1e9, "GB"),
    ]:
        share = f"{told:.2f} {unit} ÷ {came:.2f} {unit}"
        lines.append(f"| {what} foretold by `inspect` ÷ what it took ({share}) | {told / came:.2f} | 0.8 to 1.2 |")
    if discarded:
        lines.append(f"| 2 threads against 1, output discarded | {discarded:.2f} × | ≥ 1.9 × |")
        lines.append(f"| the same, transforms that stay in cache: what this machine gives | {floors['two_threads']:.2f} × | |")
    ours = {"all": total, "zarr": cpu.get("zarr", 0), "gridrec": alone["gridrec"], "stripes": alone["stripes"],
            "gridrec stage": cpu.get("gridrec", 0), "sinogram stage": cpu.get("sinogram", 0)}
    lines += against_tomopy(ours, own, by_ruler(fft2, options.angles / 1313) if fft2 else {})
    if fft2:
        lines += ["", f"Ruler (scipy fft2 of 4096², one thread): {fft2:.3f} CPU s."]
    if own:
        stages = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in own["stages"].items())
        lines += ["", f"TomoPy {own['version']} on {own['rows']} rows of the same scan, CPU s per row: {stages}."]
    return "\n".join(lines) + "\n"


def by_ruler(fft2, scale):
    """TomoPy's CPU seconds per slice in units of the ruler; OME-Zarr does not depend on the number of angles."""
    bar = {key: units * fft2 * scale for key, units in TOMOPY.items()}
    bar["zarr"] = TOMOPY["zarr"] * fft2
    bar["all"] += bar["zarr"] * (1 - scale)
    return bar


def against_tomopy(ours, own, reckoned):
    """Rows that compare with TomoPy itself where it was measured (`own`), else with what the ruler says."""
    figures = {
        "all": ("everything ÷ TomoPy + ngff-zarr", "all", "≤ 1/10"),
        "gridrec": ("gridrec alone, a call on two slices ÷ TomoPy's call on two", "gridrec", "≤ 1/6"),
        "gridrec stage": ("gridrec as the job's stage, two threads at work ÷ the same call of TomoPy's", "gridrec", "≤ 1/6"),
        "stripes": ("stripe removal alone, a call on two sinograms ÷ TomoPy's call on two", "stripes", "≤ 1/25"),
        "sinogram stage": ("stripe removal as the job's stage, two threads at work ÷ the same call of TomoPy's", "stripes", "≤ 1/25"),
        "zarr": ("OME-Zarr, all levels ÷ ngff-zarr's", "zarr", "≤ 1/8"),
    }
    lines = []
    for key, (name, theirs_key, goal) in figures.items():
        bar = own.get(theirs_key, reckoned.get(theirs_key))
        if not bar or not ours[key]:
            continue
        how = "by the ruler"
        if theirs_key in own:
            how = "itself" + (f"; by the ruler {reckoned[theirs_key]:.3f} s" if reckoned else "")
        lines.append(f"| {name} ({ours[key]:.4f} s ÷ {bar:.3f} s, {how}) | 1/{bar / ours[key]:.1f} | {goal} |")
    return lines


def scaling(options, folder):
    """How much faster two threads are than one with the output discarded after encoding."""
    if (os.cpu_count() or 1) < 2:
        return None
    scan = folder / "small.h5"
    run(TARGET / "beamrail", "simulate", scan, "--width", options.width, "--rows", 64, "--angles", options.angles,
        "--seed", 1, "--progress", "none")
    text = run(TARGET / "examples/scaling", scan, 1, 2)
    scan.unlink()
    return float(re.search(r"2 threads: .*; ([0-9.]+) x the first", text)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the record job, as much of it as the disk holds")
    parser.add_argument("--width", type=int, default=2560)
    parser.add_argument("--angles", type=int)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--dir", help="folder for the files [default: a temporary one]")
    parser.add_argument("--dry", action="store_true", help="do not append to BENCHMARKS.md")
    options = parser.parse_args()
    options.angles = options.angles or (RECORD["angles"] if options.full else 1313)
    options.rows = options.rows or (RECORD["rows"] if options.full else 128)
    folder = Path(tempfile.mkdtemp(prefix="beamrail-bench-", dir=options.dir))
    try:
        if options.full:
            options.rows = rows_that_fit(options, folder)
        table = measure(options, folder)
    finally:
        shutil.rmtree(folder)
    print(table)
    if not options.dry:
        with (ROOT / "BENCHMARKS.md").open("a") as file:
            file.write("\n" + table)


if __name__ == "__main__":
    main()
