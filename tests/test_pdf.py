"The book as one PDF: links between pages stay links, the contents know the numbers, and the outline is the book's."

from concurrent.futures import ThreadPoolExecutor

import pytest
from pypdf import PdfReader

from book import pdf
from book.browser import MISSING, chromium

PAGE = """<html><head><link rel="stylesheet" href="{up}_static/x.css"></head><body><article class="bd-article"><section id="top">
<h1>{title}<a class="headerlink" href="#top">#</a></h1><p id="here">See <a href="{up}{other}.html#here">there</a>,
<a href="{up}{other}.html">all of it</a>, <a href="#here">here</a> and <a href="https://example.org/">outside</a>.</p>
<details class="above-input"><pre>code</pre></details><details><summary>Answer</summary>Because.</details></section></article></body></html>"""


@pytest.fixture
def html(tmp_path, monkeypatch):
    "A built book of two pages, one of them in a folder."
    (tmp_path / "lib").mkdir()
    (tmp_path / "_static/mathjax").mkdir(parents=True)
    script = "MathJax = {startup: {promise: Promise.resolve()}}"
    (tmp_path / "_static/mathjax/tex-mml-chtml.js").write_text(script)
    pages = {"a": ("", "First & last", "lib/b"), "lib/b": ("../", "Second", "a")}
    for name, (up, title, other) in pages.items():
        text = PAGE.format(up=up, title=title.replace("&", "&amp;"), other=other)
        (tmp_path / f"{name}.html").write_text(text)
    named = '<code class="docutils"><span class="pre">vae-notebooks.pdf</span></code>'
    (tmp_path / "index.html").write_text(f"<head></head>{named}")
    parts = [{"caption": "A part", "chapters": [{"file": "nbs/lib/b"}]}]
    monkeypatch.setattr(pdf, "page_names", lambda: list(pages))
    monkeypatch.setattr(pdf, "toc", lambda: {"root": "nbs/a", "parts": parts})
    return tmp_path


def test_links_lead_inside_the_one_page(html):
    title, text = pdf.article(html, "lib/b", {"a", "lib/b"})
    assert title == "Second"
    for href in ("#a--here", "#a", "#lib/b--here", "https://example.org/"):
        assert f'href="{href}"' in text
    assert 'id="lib/b--here"' in text and "headerlink" not in text
    assert "code</pre>" not in text and '<details open="">' in text


def test_contents_say_where_pages_begin():
    assert pdf.inside("x.png", "a", {"a"}) == "x.png"
    assert pdf.inside("../a.html#x", "lib/b", {"a"}) == "#a--x"


@pytest.mark.slow
@pytest.mark.skipif(not chromium(), reason=MISSING)
def test_a_book_is_printed(html):
    target = html / pdf.NAME
    with ThreadPoolExecutor(
        1
    ) as alone:  # another test's browser may live in this thread
        alone.submit(pdf.make, html, target).result()
    pdf.offer(html / "index.html")
    assert f'href="{pdf.NAME}"' in (html / "index.html").read_text()
    reader = PdfReader(target)
    front, contents, first, second = (page.extract_text() for page in reader.pages)
    assert "The VAE Notebooks" in front
    assert "First & last 3" in contents and "Second 4" in contents
    assert "Because." in first and "Second" in second
    (top, (caption, (below,))) = reader.outline[0], reader.outline[1:]
    assert (top.title, caption.title, below.title) == (
        "First & last",
        "A part",
        "Second",
    )
    assert reader.get_destination_page_number(below) == 3
    assert not (html / "print.html").exists()
