"""The house rules that no compiler checks. Each rule says what to do about a finding."""

import re
import subprocess
import tomllib

from repo import ROOT, Findings, files, text

LARGEST = 1 << 20  # bytes in one file; larger data is made by a test, or fetched
LONGEST = 500  # lines in one Rust file, after which it probably has two jobs

# Split so that this file does not find itself.
LEFTOVERS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b")
CONFLICT = re.compile(r"^(<{7} |>{7} |={7}$)", re.M)
# Roots that exist on one person's machine. Paths of facilities (/global, /eagle) are documentation.
HOME = re.compile(r"(?<![\w./${}~*-])/(?:home|root|Users|work)/[A-Za-z0-9_.-]+")


def content(findings: Findings) -> int:
    """Rules on each file by itself. Returns how many files were looked at."""
    ours = files()
    for path in ours:
        size = (ROOT / path).stat().st_size
        if size > LARGEST:
            findings.error(f"{path}: {size} bytes; keep files under {LARGEST}, make or fetch larger data")
        body = text(path)
        if body is None or path.name == "Cargo.lock" or path.name.startswith("LICENSE"):
            continue
        lines = body.splitlines()
        if path.suffix == ".rs" and len(lines) > LONGEST:
            findings.warn(f"{path}: {len(lines)} lines; look for a second job to move out")
        if body and not body.endswith("\n"):
            findings.error(f"{path}: the last line has no newline; add one")
        if CONFLICT.search(body):
            findings.error(f"{path}: holds a merge conflict's markers; resolve it")
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            if LEFTOVERS.search(line):
                findings.error(f"{where}: finish it, or file an issue and take the mark out")
            if HOME.search(line):
                findings.error(f"{where}: a path of one machine; use a relative one or a variable")
            if line != line.rstrip() and path.suffix in (".py", ".sh", ".toml"):
                findings.error(f"{where}: spaces at the end of the line; remove them")
            if path.suffix == ".rs" and re.match(r"\s*#\[ignore\b", line):
                findings.error(f"{where}: #[ignore] hides a test; guard slow ones with BEAMRAIL_LONG")
        scripts(findings, path, body)
    return len(ours)


def scripts(findings: Findings, path, body: str) -> None:
    """Scripts parse, and shell scripts can be run."""
    first = body.split("\n", 1)[0]
    if path.suffix == ".py":
        try:
            compile(body, str(path), "exec")
        except SyntaxError as error:
            findings.error(f"{path}:{error.lineno}: Python does not parse it: {error.msg}")
    shell = path.suffix == ".sh" or (first.startswith("#!") and "sh" in first.split("/")[-1])
    if shell:
        parsed = subprocess.run(["bash", "-n", str(ROOT / path)], capture_output=True, text=True)
        if parsed.returncode:
            findings.error(f"{path}: bash does not parse it: {parsed.stderr.strip()}")
    if shell and first.startswith("#!/") and not (ROOT / path).stat().st_mode & 0o100:
        findings.error(f"{path}: starts with #! and cannot be run; chmod +x, and git add again")


def crates(findings: Findings) -> int:
    """Each crate has its line in crates/README.md and uses only the crates named there."""
    table = {}
    for line in (ROOT / "crates/README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        name = re.fullmatch(r"\[?`(\w+)`\]?(?:\([^)]*\))?", cells[0])
        if name and len(cells) == 3:
            table[name.group(1)] = set(re.findall(r"`(\w+)`", cells[2]))
    found = sorted(path.parent for path in (ROOT / "crates").glob("*/Cargo.toml"))
    ours = {folder.name for folder in found}
    for folder in found:
        name = folder.name
        if name not in table:
            findings.error(f"crates/{name}: add its line to the table of crates/README.md")
            continue
        manifest = tomllib.loads((folder / "Cargo.toml").read_text(encoding="utf-8"))
        used = {key for key in manifest.get("dependencies", {}) if key in ours}
        for other in sorted(used - table[name]):
            findings.error(f"crates/{name} uses {other}, which crates/README.md does not allow it")
        if not manifest.get("lints", {}).get("workspace"):
            findings.error(f"crates/{name}/Cargo.toml: add [lints] workspace = true")
    for name in sorted(table.keys() - ours):
        findings.error(f"crates/README.md lists {name}, and there is no crates/{name}")
    return len(found)


def main() -> None:
    findings = Findings("tidy")
    looked_at = content(findings)
    count = crates(findings)
    findings.finish(f"{looked_at} files, {count} crates")


if __name__ == "__main__":
    main()
