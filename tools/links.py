"""Finds dead links in Markdown files: relative paths that lead nowhere and anchors that no heading
makes. Links to other hosts are not followed; a check must not depend on them."""

import re
from pathlib import Path
from urllib.parse import unquote

from repo import ROOT, Findings, files, text

FENCE = re.compile(r"^(\s*)(```+|~~~+).*?^\s*\2[`~]*\s*$", re.M | re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]]+\]:\s*<?(\S+?)>?\s*$", re.M)
HTML = re.compile(r"\b(?:src|href)=[\"']([^\"']+)[\"']")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$", re.M)


def prose(markdown: str) -> str:
    """The text without code, whose brackets are no links; line numbers stay."""
    blank = lambda match: "\n" * match.group(0).count("\n")  # noqa: E731
    return CODE.sub(blank, FENCE.sub(blank, markdown))


def anchors(markdown: str) -> set[str]:
    """The anchors that the headings make, by GitHub's rule: lower case, punctuation dropped,
    spaces to hyphens, repeated headings numbered."""
    found: set[str] = set()
    without_fences = FENCE.sub("", markdown)
    for title in HEADING.findall(without_fences):
        title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        name, again = slug, 0
        while name in found:
            again += 1
            name = f"{slug}-{again}"
        found.add(name)
    found.update(re.findall(r"<a\s+(?:id|name)=[\"']([^\"']+)[\"']", without_fences))
    return found


def main() -> None:
    findings = Findings("links")
    pages = {path: text(path) or "" for path in files() if path.suffix == ".md"}
    count = 0
    for page, markdown in pages.items():
        body = prose(markdown)
        for match in [m for rule in (LINK, DEFINITION, HTML) for m in rule.finditer(body)]:
            target = match.group(1)
            if re.match(r"[a-z][a-z0-9+.-]*:", target, re.I):
                continue
            count += 1
            line = body.count("\n", 0, match.start()) + 1
            path, _, anchor = unquote(target).partition("#")
            if path.startswith("/"):
                findings.error(f"{page}:{line}: {target}: link by a path relative to this file")
                continue
            goal = page if not path else Path(ROOT / page.parent / path).resolve()
            if path:
                if not goal.exists():
                    findings.error(f"{page}:{line}: {target}: no such file")
                    continue
                if not goal.is_relative_to(ROOT):
                    findings.error(f"{page}:{line}: {target}: leads out of the project")
                    continue
                goal = goal.relative_to(ROOT)
            if anchor and goal in pages and anchor not in anchors(pages[goal]):
                findings.error(f"{page}:{line}: {target}: no heading in {goal} makes this anchor")
    findings.finish(f"{count} links in {len(pages)} pages")


if __name__ == "__main__":
    main()
