"""Audits the dependencies in Cargo.lock against deny.toml: where they come from, their licences,
banned and yanked crates; tells of duplicates. This much needs no network beyond the crates
themselves. Advisories are asked of cargo-deny or cargo-audit where one is installed and its
database answers; where not, that is said, and is not a failure."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

from repo import ROOT, Findings

CARGO = os.environ.get("CARGO", "cargo")
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
PATIENCE = 120  # seconds for an advisory database to come


def metadata() -> list[dict]:
    """The packages that this machine's build uses, as cargo knows them."""
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = re.search(r"^host: (.+)$", version, re.M).group(1)
    told = subprocess.run(
        [CARGO, "metadata", "--format-version", "1", "--locked", "--filter-platform", host],
        cwd=ROOT, capture_output=True, text=True,
    )
    if told.returncode:
        raise SystemExit(f"audit: cargo metadata failed:\n{told.stderr.strip()}")
    resolved = json.loads(told.stdout)
    used = {node["id"] for node in resolved["resolve"]["nodes"]}
    return [package for package in resolved["packages"] if package["id"] in used]


def licensed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met with the allowed licences. The old "MIT/Apache-2.0"
    means OR. AND binds tighter than OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either() -> bool:
        met = both()
        while words and words[0].upper() == "OR":
            words.pop(0)
            met = both() or met
        return met

    def both() -> bool:
        met = one()
        while words and words[0].upper() == "AND":
            words.pop(0)
            met = one() and met
        return met

    def one() -> bool:
        if not words:
            return False
        word = words.pop(0)
        if word == "(":
            met = either()
            if words:
                words.pop(0)
            return met
        if words and words[0].upper() == "WITH":
            words.pop(0)
            word += " WITH " + (words.pop(0) if words else "")
        return word in allowed

    return either() and not words


def licences(findings: Findings, packages: list[dict], rules: dict) -> None:
    allowed = set(rules["allow"])
    clarified = {entry["crate"]: entry["expression"] for entry in rules.get("clarify", [])}
    for package in packages:
        if package["source"] is None:
            continue
        expression = package["license"] or clarified.get(package["name"])
        name = f"{package['name']} {package['version']}"
        if not expression:
            findings.error(f"{name} names no licence; read its sources, then add it to [[licenses.clarify]] in deny.toml")
        elif not licensed(expression, allowed):
            findings.error(f"{name} is licensed {expression}, which deny.toml does not allow; use another crate")


def index_entries(name: str) -> dict[str, dict]:
    """What the registry's index, as cargo last cached it, says about each version of a crate."""
    folder = {1: "1", 2: "2", 3: f"3/{name[0]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    entries = {}
    for index in home.glob("registry/index/*/.cache"):
        try:
            cached = (index / folder / name).read_bytes()
        except OSError:
            continue
        for piece in cached.split(b"\0"):
            if piece.startswith(b"{"):
                try:
                    entry = json.loads(piece)
                    entries[entry["vers"]] = entry
                except (ValueError, KeyError):
                    continue
    return entries


def locked(findings: Findings, banned: dict[str, str]) -> tuple[int, int]:
    """Rules on Cargo.lock. Returns the number of outside crates and of those found in the index."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    versions, outside, known = defaultdict(list), 0, 0
    for package in packages:
        name, version = package["name"], package["version"]
        versions[name].append(version)
        if name in banned:
            findings.error(f"{name} {version} is banned: {banned[name]}")
        if "source" not in package:
            continue
        outside += 1
        if package["source"] != REGISTRY or "checksum" not in package:
            findings.error(f"{name} {version} comes from {package['source']}; take it from crates.io, with a checksum")
            continue
        entry = index_entries(name.lower()).get(version)
        if entry is None:
            continue
        known += 1
        if entry.get("yanked"):
            findings.error(f"{name} {version} was yanked by its authors; run cargo update -p {name}")
        if entry.get("cksum") != package["checksum"]:
            findings.error(f"{name} {version}: Cargo.lock's checksum is not the registry's; find out why before building")
    for name, several in sorted(versions.items()):
        if len(several) > 1:
            findings.warn(f"{name} is built in {len(several)} versions: {', '.join(several)}")
    return outside, known


def built_twice(findings: Findings) -> None:
    """Tells of crates that tests build with other features than the binary does: they, and all that
    use them, are then compiled a second time. Some crates here take minutes."""

    def features(kinds: str) -> dict[str, str]:
        told = subprocess.run(
            [CARGO, "tree", "--workspace", "--locked", "-e", kinds, "-f", "{p}|{f}", "--prefix", "none"],
            cwd=ROOT, capture_output=True, text=True,
        ).stdout
        rows = (line.removesuffix(" (*)").partition("|") for line in told.splitlines())
        return {package: enabled for package, _, enabled in rows}

    binary, tests = features("normal,build"), features("normal,build,dev")
    for package in sorted(binary.keys() & tests.keys()):
        if binary[package] != tests[package]:
            more = sorted(set(tests[package].split(",")) - set(binary[package].split(",")))
            findings.warn(
                f"{package} is built again for tests, with {', '.join(more)}; turn that on in [workspace.dependencies]"
            )


def advisories(findings: Findings) -> str:
    """Asks a tool that knows published vulnerabilities. Returns what to say about it."""

    def ask(*command: str) -> subprocess.CompletedProcess | None:
        try:
            return subprocess.run(
                [CARGO, *command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
            )
        except (OSError, subprocess.TimeoutExpired):
            return None

    if shutil.which("cargo-deny"):
        fetched = ask("deny", "fetch", "db")
        if fetched is None or fetched.returncode:
            return "advisories not checked: cargo-deny's database cannot be reached"
        told = ask("deny", "check", "advisories")
        if told is None or told.returncode:
            findings.error("cargo deny check advisories:\n" + (told.stderr.strip() if told else "no answer in time"))
        return "advisories checked by cargo-deny"
    if shutil.which("cargo-audit"):
        told = ask("audit", "--json")
        try:
            report = json.loads(told.stdout) if told else None
        except ValueError:
            report = None
        if report is None:
            return "advisories not checked: cargo-audit's database cannot be reached"
        for found in report["vulnerabilities"]["list"]:
            package, advisory = found["package"], found["advisory"]
            findings.error(f"{package['name']} {package['version']}: {advisory['id']} {advisory['title']}")
        return "advisories checked by cargo-audit"
    return "advisories not checked: neither cargo-deny nor cargo-audit is installed"


def main() -> None:
    findings = Findings("audit")
    rules = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))
    banned = {entry["name"]: entry["reason"] for entry in rules["bans"].get("deny", [])}
    licences(findings, metadata(), rules["licenses"])
    outside, known = locked(findings, banned)
    built_twice(findings)
    told = advisories(findings)
    findings.finish(f"{outside} crates, {known} of them found in the cached index; {told}")


if __name__ == "__main__":
    main()
