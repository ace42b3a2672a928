"""Requests to the application of a test, and what a page says."""

import html
import io
import re
from urllib.parse import unquote

import pandas as pd


def form(*files, text=""):
    """Return a form of pairs of a name and a content."""
    parts = [(io.BytesIO(_bytes(content)), name) for name, content in files]
    return {"files": parts, "text": text}


def _bytes(content):
    return content.encode() if isinstance(content, str) else content


def send(client, *files, to="/", text="", status=200, **options):
    """Post files; return the response after a check of its status."""
    got = client.post(to, data=form(*files, text=text), base_url=HOST, **options)
    assert got.status_code == status, got.get_data(as_text=True)
    return got


def results(client, *files, **options):
    """Return the results of the JSON endpoint."""
    return send(client, *files, to="/api/predict", **options).json["results"]


def text_of(page):
    """Return the text of a page, without tags."""
    page = re.sub(r"<(svg|script)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def csv_of(page):
    """Return the table that a page offers for download."""
    (link,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', page)
    return unquote(link)


def table(text):
    return pd.read_csv(io.StringIO(text), keep_default_na=False)


HOST = "http://127.0.0.1:8000"
