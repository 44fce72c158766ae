"""Hooks of MkDocs: links that leave docs/ reach the repository's own files; a font for formulas.

The pages in docs/ link to other files as they lie in the repository (../CONTRIBUTING.md), so that
the links work there. Here each such file becomes part of the site at repository/<path>, and the
links are rewritten; Markdown files become pages, whose own links are followed likewise. So nothing
is copied into docs/, and a link that leads nowhere still fails the strict build.

MathML looks right in a font with a table of mathematical measures alone, which not every system
has: STIX Two Math (SIL Open Font License 1.1) comes with ziamath and goes into the site from there.
"""

from __future__ import annotations

import posixpath
import re
from importlib.resources import files as resources
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = "repository/"  # where files from outside docs/ stand in the site
FONT = "assets/math.ttf"  # named in assets/extra.css
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages and the navigation name from outside docs/, and the font."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    seen = {page.src_uri for page in files}
    waiting = [
        (page.src_uri, (docs / page.src_uri).read_text(encoding="utf-8"))
        for page in files.documentation_pages()
    ]
    waiting.append(("", " ".join(f"]({uri})" for uri in _named(config.nav))))
    while waiting:
        uri, text = waiting.pop()
        for match in LINK.finditer(FENCE.sub("", text)):
            target = site_uri(uri, match[2], root)
            if not target.startswith(OUTSIDE) or target in seen:
                continue
            source = root / target.removeprefix(OUTSIDE)
            if not source.is_file():
                continue  # MkDocs says so
            seen.add(target)
            files.append(File.generated(config, target, abs_src_path=str(source)))
            if source.suffix == ".md":
                waiting.append((target, source.read_text(encoding="utf-8")))
    font = resources("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"
    files.append(File.generated(config, FONT, abs_src_path=str(font)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    root, here = Path(config.config_file_path).parent, page.file.src_uri
    if here.startswith(OUTSIDE):
        page.meta["hide"] = ["toc"]  # room for wide tables

    def rewritten(match: re.Match[str]) -> str:
        target = site_uri(here, match[2], root)
        if not target:
            return match[0]
        link = posixpath.relpath(target, posixpath.dirname(here) or ".")
        return f"{match[1]}{link}{match[3] or ''}{match[4]}"

    kept = [*FENCE.finditer(markdown)]
    parts, at = [], 0
    for fence in kept:
        parts += [LINK.sub(rewritten, markdown[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, LINK.sub(rewritten, markdown[at:])])


def site_uri(page: str, link: str, root: Path) -> str:
    """Where ``link`` on the page at the site's ``page`` leads, as a path in the site; "" where it
    is no path. A folder leads to its README."""
    if ":" in link or link.startswith(("/", "#")):
        return ""
    own = page.removeprefix(OUTSIDE) if page.startswith(OUTSIDE) else f"docs/{page}"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(own), link))
    if (root / path / "README.md").is_file():
        path += "/README.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE + path


def _named(nav: object) -> list[str]:
    """All paths in the navigation of mkdocs.yml."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ()
    return [path for part in inner for path in _named(part)]
