"""What the checkers in this folder share: which files are ours, and how findings are told."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Without git (an unpacked archive) the tree is walked; these hold nothing of ours.
NOT_OURS = {".git", ".tools", "target", "dist", "demo", "beamrail-demo", "__pycache__"}


def files() -> list[Path]:
    """Every file of the project, relative to its root: tracked, or new and not ignored."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True,
        ).stdout.decode().split("\0")
        found = [Path(name) for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, names, leaves in os.walk(ROOT):
            names[:] = [name for name in names if name not in NOT_OURS]
            found += [(Path(folder) / leaf).relative_to(ROOT) for leaf in leaves]
    return sorted(path for path in found if (ROOT / path).is_file())


def text(path: Path) -> str | None:
    """The file's text, or None where it is not UTF-8 text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


class Findings:
    """Collects what a checker found; errors decide the exit status, warnings are only told."""

    def __init__(self, name: str) -> None:
        self.name, self.errors, self.warnings = name, [], []

    def error(self, message: str) -> None:
        self.errors.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def finish(self, summary: str) -> None:
        """Tells everything and ends the program."""
        for message in self.warnings:
            print(f"{self.name}: warning: {message}")
        for message in self.errors:
            print(f"{self.name}: {message}", file=sys.stderr)
        verdict = f"{len(self.errors)} to put right" if self.errors else "ok"
        print(f"{self.name}: {verdict}; {summary}", flush=True)
        sys.exit(1 if self.errors else 0)
