"""Runs every test and says in one closing line what became of them.

Four stages, each run even if one before failed: the Rust tests (with cargo-nextest where it is
installed), the examples in the documentation, the judges of tests/judges/run.sh, and the pages in a real
browser by tests/browser/run.sh. Output is kept under target/test-logs. A test that prints a line starting with "skipped:" passed without doing its
work (data absent, or too slow without BEAMRAIL_LONG=1); it is counted as skipped, and listed. A Rust test that
failed and passed when it was run again (.config/nextest.toml) counts as passed, and is listed as flaky: mend it.

The protocol of the two scripts: one line "passed: WHAT", "failed: WHAT" or "skipped: WHAT" for
each check, and an exit status that is not 0 if one failed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from repo import ROOT

CARGO = os.environ.get("CARGO", "cargo")
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
LOGS = TARGET / "test-logs"
LONG = os.environ.get("BEAMRAIL_LONG") == "1"


@dataclass
class Stage:
    """What came of one stage."""

    name: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(name: str, command: list[str]) -> tuple[int, str, float]:
    """Runs a command, showing and keeping what it says. Returns status, output and seconds."""
    print(f"\n== {name}: {' '.join(command)}", flush=True)
    started, lines = time.monotonic(), []
    LOGS.mkdir(parents=True, exist_ok=True)
    with open(LOGS / f"{name}.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        )
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
        status = process.wait()
    return status, "".join(lines), time.monotonic() - started


def settled(stage: Stage, status: int) -> Stage:
    """A stage that ended badly without a failed test (it did not compile, it was killed) has failed."""
    if status and not stage.failed:
        stage.failed.append(f"the stage {stage.name} ended with status {status}; see its log")
    if not status and not stage.passed and not stage.skipped and not stage.failed:
        print(f"test: the stage {stage.name} ran nothing", file=sys.stderr)
    return stage


def nextest() -> Stage:
    """All Rust tests under cargo-nextest; counts come from its JUnit report."""
    profile = "long" if LONG else "default"
    report = TARGET / "nextest" / profile / "junit.xml"
    report.unlink(missing_ok=True)
    status, _, seconds = run(
        "rust",
        [CARGO, "nextest", "run", "--release", "--locked", "--workspace", "--profile", profile],
    )
    stage = Stage("rust", seconds=seconds)
    cases = ElementTree.parse(report).getroot().iter("testcase") if report.exists() else []
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            stage.failed.append(f"{case.get('classname')} {case.get('name')}")
            continue
        if case.find("flakyFailure") is not None or case.find("flakyError") is not None:
            stage.flaky.append(f"{case.get('classname')} {case.get('name')}")
        told = "\n".join(part.text or "" for part in case if part.tag in ("system-out", "system-err"))
        reason = re.search(r"^\s*skipped:\s*(.*)$", told, re.M)
        if reason:
            stage.skipped.append(f"{case.get('classname')} {case.get('name')}: {reason.group(1)}")
        else:
            stage.passed += 1
    return settled(stage, status)


def libtest(name: str, arguments: list[str]) -> Stage:
    """Tests under `cargo test`; counts come from its closing lines, one a binary."""
    status, told, seconds = run(
        name,
        [CARGO, "test", "--release", "--locked", "--workspace", "--no-fail-fast", *arguments],
    )
    stage = Stage(name, seconds=seconds)
    for line in re.finditer(r"^test result: .*?(\d+) passed;", told, re.M):
        stage.passed += int(line.group(1))
    stage.failed = re.findall(r"^test (.+) \.\.\. FAILED$", told, re.M)
    # --show-output gives each passed test's output under its name.
    for block in re.finditer(r"^---- (\S+) stdout ----\n(.*?)(?=^---- |^successes:|^failures:)", told, re.M | re.S):
        reason = re.search(r"^skipped:\s*(.*)$", block.group(2), re.M)
        if reason and block.group(1) not in stage.failed:
            stage.skipped.append(f"{block.group(1)}: {reason.group(1)}")
            stage.passed -= 1
    return settled(stage, status)


def script(name: str) -> Stage:
    """Readers written by others judge what the binary wrote; a real browser shows its pages."""
    status, told, seconds = run(name, ["bash", f"tests/{name}/run.sh"])
    stage = Stage(name, seconds=seconds)
    stage.passed = len(re.findall(r"^passed: ", told, re.M))
    stage.failed = re.findall(r"^failed: (.*)$", told, re.M)
    stage.skipped = re.findall(r"^skipped: (.*)$", told, re.M)
    return settled(stage, status)


def main() -> None:
    if shutil.which("cargo-nextest"):
        stages = [nextest()]
    else:
        stages = [libtest("rust", ["--lib", "--bins", "--tests", "--", "--show-output"])]
    stages += [libtest("doc", ["--doc"]), script("judges"), script("browser")]

    print("\n== summary")
    for stage in stages:
        for reason in stage.skipped:
            print(f"skipped: {reason}")
    for stage in stages:
        for name in stage.flaky:
            print(f"flaky: {name} (failed once, passed when run again)")
        for name in stage.failed:
            print(f"failed: {name}")
    for stage in stages:
        log = os.path.relpath(LOGS / f"{stage.name}.log", ROOT)
        print(
            f"{stage.name}: {stage.passed} passed, {len(stage.failed)} failed, "
            f"{len(stage.skipped)} skipped, {len(stage.flaky)} flaky in {stage.seconds:.0f} s ({log})"
        )
    failed = sum(len(stage.failed) for stage in stages)
    passed = sum(stage.passed for stage in stages)
    skipped = sum(len(stage.skipped) for stage in stages)
    # The last line, and alone on it: whoever runs this reads it.
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
