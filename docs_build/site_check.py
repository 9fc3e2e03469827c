"""Links of pages and of the built site lead somewhere, and nothing is fetched from elsewhere."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docs_build import examples, reference

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_DATA = re.compile(r"data/([a-z0-9_]+\.csv(?:\.gz)?)")
_FENCED = re.compile(r"^```.*?^```[ ]*$", re.MULTILINE | re.DOTALL)
#: Attributes by which a page makes a browser fetch something.
_FETCHED = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href",
    "object": "data",
}  # fmt: skip


def data_of(page: Path) -> set[str]:
    """Data sets that a page names."""
    return set(_DATA.findall(page.read_text(encoding="utf-8")))


def broken_links(page: Path) -> list[str]:
    """Links of a page's Markdown to files and headings that are not there."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    out = []
    text = re.sub(r"`[^`\n]*`", "", text)
    for match in _LINK.finditer(text):
        link = match[1] or match[2]
        if urlsplit(link).scheme in ("http", "https", "mailto"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        if path.removeprefix("../").startswith("data/"):
            target = examples.DATA / path.removeprefix("../").removeprefix("data/")
        if not target.exists():
            out.append(f"{page.name}: {link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            out.append(f"{page.name}: {link}: no such heading")
    return out


def anchors(page: Path) -> set[str]:
    """What links may end in: headings, and entries of the reference."""
    text = page.read_text(encoding="utf-8")
    found = {_slug(line.lstrip("#")) for line in _FENCED.sub("", text).splitlines()
             if re.match(r"#{1,6} ", line)}  # fmt: skip
    for name in reference.names_of(text):
        if page.parent.name == "reference":
            found |= {entry.anchor for entry in reference.entries(name)}
    return found


def _slug(heading: str) -> str:
    """A heading's anchor as Python-Markdown makes it."""
    text = unicodedata.normalize("NFKD", re.sub(r"[`*]", "", heading))
    text = re.sub(r"[^\w\s-]", "", text.encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", text)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.hrefs: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {str(found[name]) for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.hrefs.append(str(found["href"]))
        if _FETCHED.get(tag) in found and found.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(str(found[_FETCHED[tag]]))


def faults(site: Path) -> list[str]:
    """What is broken in a built site."""
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    out = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        name = path.relative_to(site.resolve()).as_posix()
        out += [f"{name}: fetches {url}" for url in page.fetched if _outside(url)]
        for link in [*page.hrefs, *page.fetched]:
            if not _outside(link) and not link.startswith(("mailto:", "data:", "javascript:")):
                out += _missing(path, name, link, pages)
    return out


def _read(path: Path) -> _Links:
    parser = _Links()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def _outside(url: str) -> bool:
    return bool(urlsplit(url).netloc)


def _missing(path: Path, name: str, link: str, pages: dict[Path, _Links]) -> list[str]:
    split = urlsplit(link)
    target = (path.parent / unquote(split.path)).resolve() if split.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        return [f"{name}: {link}: no such file"]
    if split.fragment and target in pages and unquote(split.fragment) not in pages[target].ids:
        return [f"{name}: {link}: no such heading"]
    return []
