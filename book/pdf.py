"""The whole book as one PDF: `make pdf`, after `make book`.

The built pages are put into one page, in reading order, and Chromium prints it. So references between pages become references inside the PDF,
and its outline is the book's. It is printed twice: the first time shows on which page each part begins, which the contents then say.
"""

import argparse
import io
import posixpath
import re
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup
from pypdf import PdfReader, PdfWriter

from .browser import MISSING, all_pictures, browser, chromium, served, settled
from .project import BUILD, address, page_names, settings, toc

NAME = "vae-notebooks.pdf"
GONE = ".headerlink, script, button, .how-made, a[href^='https://colab.'], details.above-input, .cell_input details"
FRAME = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>{styles}
<script>MathJax = {{options: {{processHtmlClass: "tex2jax_process|mathjax_process|math|output_area"}}}}</script>
<script defer src="_static/mathjax/tex-mml-chtml.js"></script>
<style>
  body {{ font-size: 10.5pt; }} article {{ break-before: page; }} article, .contents {{ display: block; }}
  .contents li {{ display: flex; gap: .5em; list-style: none; }} .contents li a {{ flex: 1; }} .contents h2 {{ font-size: 1.1rem; margin: 1em 0 .2em; }}
  .contents ul {{ padding: 0; margin: 0; }} .front {{ text-align: center; padding-top: 30%; break-after: page; }}
  details > summary {{ display: none; }} div.cell pre {{ font-size: 7.6pt; }} img {{ max-width: 100%; height: auto; }}
</style></head><body>{body}</body></html>"""
FOOT = '<div style="font-size: 8px; width: 100%; text-align: center; color: #555"><span class="pageNumber"></span></div>'


def inside(href, page, pages):
    "Where a link of a page leads in the one page: `#name` or `#name--anchor`; unchanged if it leads out of the book."
    if re.match(r"[a-z]+:", href):
        return href
    path, _, anchor = href.partition("#")
    name = (
        posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
        if path
        else page
    )
    name = name.removesuffix(".html")
    if name not in pages:
        return href
    return f"#{name}--{anchor}" if anchor else f"#{name}"


def article(html, page, pages):
    "The text of a built page as a part of the one page: names and links of its own, everything unfolded that is not code."
    soup = BeautifulSoup((html / f"{page}.html").read_text(), "html.parser")
    found = soup.select_one("article.bd-article")
    for gone in found.select(GONE):
        gone.decompose()
    for tag in found.select("[id]"):
        tag["id"] = f"{page}--{tag['id']}"
    for tag in found.select("a[href]"):
        tag["href"] = inside(tag["href"], page, pages)
    for tag in found.select("img[src]"):
        tag["src"] = posixpath.normpath(
            posixpath.join(posixpath.dirname(page), tag["src"])
        )
        tag["loading"] = "eager"
    for tag in found.select("details"):
        tag["open"] = ""
    title = found.select_one("h1").get_text().removesuffix("#").strip()
    found["id"] = page
    return title, str(found)


def parts(titles):
    "(caption, names of its pages) of the book's parts; the title page has no caption."
    files = [(None, [toc()["root"]])]
    files += [
        (p["caption"], [c["file"] for c in p["chapters"]]) for p in toc()["parts"]
    ]
    for caption, found in files:
        homes = [address(file) for file in found]
        yield (
            caption,
            [n for h in homes for n in titles if n == h or n.startswith(f"{h}/")],
        )


def contents(titles, begins):
    "The table of contents: parts, pages, and the numbers on which they begin, where they are known."
    said = []
    for caption, names in parts(titles):
        rows = "".join(
            f'<li><a href="#{n}">{escape(titles[n])}</a><span>{begins[n] + 1 if n in begins else ""}</span></li>'
            for n in names
        )
        head = f"<h2>{escape(caption)}</h2>" if caption else ""
        said.append(f"{head}<ul>{rows}</ul>")
    return f'<div class="contents"><h1>Contents</h1>{"".join(said)}</div>'


def one_page(html, titles, articles, begins):
    "The whole book in one HTML text."
    index = BeautifulSoup((html / "index.html").read_text(), "html.parser")
    styles = "".join(map(str, index.select("head link[rel=stylesheet]")))
    title = settings()["title"]
    front = f'<div class="front"><h1>{escape(title)}</h1><p>{escape(settings()["author"])}</p></div>'
    body = front + contents(titles, begins) + "".join(articles)
    return FRAME.format(title=escape(title), styles=styles, body=body)


def printed(tab, address, target):
    "Print a page into a PDF with page numbers; name of a page of the book → its number, from 0."
    tab.set_default_timeout(600_000)
    tab.goto(address)
    settled(tab, timeout=600_000)
    all_pictures(tab)
    tab.pdf(
        path=target,
        format="A4",
        print_background=True,
        tagged=False,  # its tags would be half of the file
        margin=dict.fromkeys(("top", "bottom", "left", "right"), "17mm"),
        display_header_footer=True,
        header_template="<i></i>",
        footer_template=FOOT,
    )
    reader = PdfReader(target)
    places = {n.lstrip("/"): at for n, at in reader.named_destinations.items()}
    return {n: reader.get_destination_page_number(at) for n, at in places.items()}


def outlined(target, titles, begins):
    "Give a PDF its outline: the parts of the book and their pages; what it holds twice, it holds once."
    writer = PdfWriter(clone_from=target)
    for caption, names in parts(titles):
        here = [name for name in names if name in begins]
        above = caption and writer.add_outline_item(
            title=caption, page_number=begins[here[0]]
        )
        for name in here:
            writer.add_outline_item(
                title=titles[name], page_number=begins[name], parent=above
            )
    lighter(writer)
    writer.compress_identical_objects(remove_unreferenced=True)
    writer.write(target)


def lighter(writer, quality=78, worth=40_000):
    "Photographs of more than `worth` bytes as JPEG, where that is less than half as large; drawings stay as they are, to the pixel."
    for sheet in writer.pages:
        held = sheet["/Resources"].get("/XObject", {})
        for name in (n for n in sheet.images.keys() if isinstance(n, str)):
            stored = held[name].get_object()
            before = len(stored._data)
            if before <= worth or stored.get("/Filter") == "/DCTDecode":
                continue  # looking at pixels takes time
            picture, buffer = sheet.images[name], io.BytesIO()
            colours = picture.image.convert("RGB")
            colours.save(buffer, "JPEG", quality=quality)
            if buffer.tell() < before / 2:
                picture.replace(colours, quality=quality)


def make(html, target):
    "Print the built book in the folder `html` into `target`."
    names = [name for name in page_names() if (html / f"{name}.html").exists()]
    read = {name: article(html, name, set(names)) for name in names}
    titles = {name: title for name, (title, _) in read.items()}
    articles, sheet, begins = (
        [text for _, text in read.values()],
        html / "print.html",
        {},
    )
    try:
        with served(html) as home, browser() as chrome:
            for _ in range(2):
                sheet.write_text(one_page(html, titles, articles, begins))
                tab = chrome.new_page()
                tab.emulate_media(media="print", color_scheme="light")
                begins = printed(tab, f"{home}print.html", target)
                tab.close()
    finally:
        sheet.unlink(missing_ok=True)
    outlined(target, titles, begins)


def offer(index):
    "On the title page, the name of the PDF becomes a link to it."
    text, link = index.read_text(), f'<a class="reference" href="{NAME}">{NAME}</a>'
    named = rf'<code class="[^"]*"><span class="pre">{re.escape(NAME)}</span></code>'
    index.write_text(re.sub(named, link, text))


def main():
    "The command line."
    parser = argparse.ArgumentParser(prog="python -m book.pdf", description=__doc__)
    parser.add_argument(
        "--html", type=Path, default=BUILD / "html", help="the built book (%(default)s)"
    )
    html = parser.parse_args().html
    if not chromium():
        raise SystemExit(MISSING)
    if not (html / "index.html").exists():
        raise SystemExit(f"There is no book in {html}: make book")
    make(html, html / NAME)
    offer(html / "index.html")
    print(f"{html / NAME}: {(html / NAME).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
