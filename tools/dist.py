"""Builds the one binary that is taken to facilities, and checks that it will start there.

    tools/dist.py                     x86-64, and aarch64 where Rust's library for it is installed
    tools/dist.py x86_64              one of them

Supercomputers run older systems than desks. Linked by zig against the symbols of glibc 2.28, one binary
starts on every Linux of that age or younger. The result lies in dist/: the binary, its checksum, and what
it is. As root on Debian it is tried in the oldest root that debootstrap can make here.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from repo import ROOT

CARGO = os.environ.get("CARGO", "cargo")
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "dist"
DIST = ROOT / "dist"
GLIBC = "2.28"
# What a facility is sure to have; everything else is inside the binary.
LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1"}
# From old to young; the mirror at hand may have only the younger ones.
RELEASES = ("stretch", "buster", "bullseye", "bookworm")


def fail(message: str) -> None:
    sys.exit(f"dist: {message}")


def say(message: str) -> None:
    print(f"dist: {message}", flush=True)


def output(*command, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        fail(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def build(machine: str) -> Path:
    """Compiles with zig as the linker and the C compiler; gives the binary."""
    tools = ROOT / ".tools/dist/bin"
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(TARGET)}
    triple = f"{machine}-unknown-linux-gnu"
    say(f"compiling for {triple}, glibc {GLIBC} and newer (minutes, the first time)")
    command = [str(tools / "cargo-zigbuild"), "zigbuild", "--release", "--locked", "--package", "beamrail",
               "--target", f"{triple}.{GLIBC}"]
    if subprocess.run(command, cwd=ROOT, env=environment).returncode:
        fail(f"the build for {triple} failed (see above)")
    return TARGET / triple / "release/beamrail"


def check(binary: Path) -> str:
    """The newest glibc symbol it wants, which must not be too new; and no other libraries."""
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "--dynamic", "--wide", binary)))
    needed = {name for name in needed if not name.startswith("ld-linux")}
    if needed - LIBRARIES:
        fail(f"{binary} wants {', '.join(sorted(needed - LIBRARIES))}, which a facility may not have")
    wanted = re.findall(r"Name: GLIBC_([0-9.]+)", output("readelf", "--version-info", "--wide", binary))
    if not wanted:
        fail(f"{binary} names no version of glibc; is it what should have been built?")
    newest = max(wanted, key=number)
    if number(newest) > number(GLIBC):
        fail(f"{binary} wants GLIBC_{newest}, and {GLIBC} was promised")
    return newest


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def ship(binary: Path, machine: str, newest: str) -> Path:
    """Puts the binary into dist/ without its debug information, with checksum and version beside it."""
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    DIST.mkdir(exist_ok=True)
    shipped = DIST / f"beamrail-{version}-{machine}-linux"
    new = shipped.with_name(shipped.name + ".new")
    # The system's own strip knows only its own machine; zig's knows all.
    shutil.copy2(binary, new)
    objcopy = [ROOT / ".tools/dist/bin/python", "-m", "ziglang", "objcopy", "--strip-all", binary, new]
    if machine == os.uname().machine and shutil.which("strip"):
        output("strip", "-o", new, binary)
    elif subprocess.run([str(word) for word in objcopy], capture_output=True).returncode:
        shutil.copy2(binary, new)
    new.chmod(0o755)
    new.rename(shipped)
    digest = hashlib.sha256(shipped.read_bytes()).hexdigest()
    (DIST / f"{shipped.name}.sha256").write_text(f"{digest}  {shipped.name}\n")
    (DIST / f"{shipped.name}.version").write_text(
        f"beamrail {version}\ncommit {commit or 'unknown'}\nmachine {machine}\nglibc {newest} or newer\n"
        f"bytes {shipped.stat().st_size}\nsha256 {digest}\n")
    say(f"{shipped.relative_to(ROOT)}: {shipped.stat().st_size / 1e6:.1f} MB, newest symbol GLIBC_{newest}")
    return shipped


JOB = """set -e
cd /tmp
/beamrail --version
/beamrail simulate scan.h5 --width 64 --rows 32 --angles 90 --progress none
/beamrail reconstruct scan.h5 --progress none
/beamrail verify recscan.manifest.json
"""


def try_it(binary: Path) -> None:
    """A whole reconstruction in the oldest system that can be had here."""
    if os.geteuid() or not shutil.which("debootstrap"):
        say("skipped: trying it in an old system needs root and debootstrap (apt-get install debootstrap)")
        return
    for release in RELEASES:
        with tempfile.TemporaryDirectory(prefix="beamrail-dist-") as folder:
            root = Path(folder) / "root"
            made = subprocess.run(["debootstrap", "--variant=minbase", release, str(root)], capture_output=True, text=True)
            if made.returncode:
                say(f"debootstrap cannot make {release} here: {(made.stdout or made.stderr).strip().splitlines()[-1:]}")
                continue
            shutil.copy2(binary, root / "beamrail")
            glibc = re.search(r"(\d+\.\d+)\s*$", output("chroot", root, "ldd", "--version").splitlines()[0]).group(1)
            if number(glibc) < number(GLIBC):
                done = subprocess.run(["chroot", root, "/beamrail", "--version"], capture_output=True, text=True)
                say(f"{release} has glibc {glibc}, too old by intent: exit {done.returncode}")
                continue
            told = output("chroot", root, "sh", "-c", JOB)
            say(f"{release} (glibc {glibc}): {told.splitlines()[0]} has simulated, reconstructed and verified")
            return
    say("skipped: debootstrap can make no system here (all releases failed)")


def main() -> None:
    subprocess.run([ROOT / "tools/install.sh", "dist"], check=True)
    libraries = Path(output("rustc", "--print", "sysroot").strip()) / "lib/rustlib"
    asked = sys.argv[1:] or ["x86_64", "aarch64"]
    for machine in asked:
        if machine not in ("x86_64", "aarch64"):
            fail(f"there is no build for {machine}; give x86_64 or aarch64")
        if not (libraries / f"{machine}-unknown-linux-gnu/lib").is_dir():
            say(f"skipped: {machine}, Rust's library for it is not here (rustup target add {machine}-unknown-linux-gnu)")
            continue
        binary = build(machine)
        shipped = ship(binary, machine, check(binary))
        if machine == os.uname().machine:
            try_it(shipped)


if __name__ == "__main__":
    main()
