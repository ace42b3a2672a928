"""Pages of reports, parsed: texts, tables, images, and what they refer to."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from sklearn_unlocknn import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page, read strictly: each element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.references = [], [], []
        self.texts, self.tables, self.terms = [], {}, {}
        self.policy = ""
        self._open, self._cell, self._caption, self._term = [], None, None, None
        self.feed(text)
        self.close()
        assert self._open == [], "elements that are not closed"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        for name, value in attrs.items():
            assert not name.startswith("on"), f"a script in {name}"
            if name in ("src", "href", "action", "srcset", "poster", "data"):
                self.references.append(value)
        if tag == "img":
            self.images.append(attrs)
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self._row = []
        if tag in ("td", "th", "caption", "dt", "dd"):
            self._cell = ""

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "caption":
            self._caption = self._cell
            self.tables[self._caption] = []
        if tag in ("td", "th"):
            self._row.append(self._cell)
        if tag == "tr":
            self.tables[self._caption].append(self._row)
        if tag == "dt":
            self._term = self._cell
        if tag == "dd":
            self.terms[self._term] = self._cell

    def handle_data(self, data):
        if self._open and self._open[-1] == "style":
            assert "url(" not in data
            assert "@import" not in data
            return
        self.texts.append(data)
        if self._cell is not None:
            self._cell += data

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def table(self, start):
        """Return the table whose caption starts so, as a list of dict."""
        (rows,) = [rows for key, rows in self.tables.items() if key.startswith(start)]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def pictures(self):
        """Return the content of the images, of well-formed SVG or PNG."""
        contents = []
        for image in self.images:
            kind, content = image["src"].split(";base64,")
            content = base64.b64decode(content)
            if kind == "data:image/svg+xml":
                ElementTree.fromstring(content)
            else:
                assert kind == "data:image/png"
                assert content.startswith(b"\x89PNG")
            contents.append(content)
        return contents


def report(model, X, y, folder, **options):
    """Write a report; return its page, checked to refer to nothing outside."""
    path = Path(folder, "report.html")
    write_report(model, X, y, path, **options)
    assert [p.name for p in Path(folder).iterdir() if p.suffix == ".part"] == []
    return checked(path)


def checked(path):
    """Return the page of a file, checked to refer to nothing outside of it."""
    text = Path(path).read_text(encoding="utf-8")
    page = Page(text)
    assert page.references
    assert all(one.startswith("data:image/") for one in page.references)
    assert page.policy.startswith("default-src 'none'; img-src data:;")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    assert all(image["alt"] for image in page.images)
    page.pictures()
    return page
