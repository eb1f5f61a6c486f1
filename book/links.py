"Every link inside the built book leads somewhere: a file that exists, a fragment that is on the page. No network."

import functools
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    "Collects the targets that a page names and the fragments that it offers."

    def __init__(self, path):
        super().__init__()
        self.targets, self.ids = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[k] for k in ("id", "name") if values.get(k)}
        self.targets |= {values[k] for k in ("href", "src") if values.get(k)}


def file_of(folder, address):
    "The file that a relative address means to pages of a folder; it need not exist."
    file = (folder / unquote(address)).resolve()
    return file / "index.html" if file.is_dir() else file


def broken_links(html):
    "A sentence for each broken link in the folder of built pages."
    html = Path(html).resolve()
    pages = {
        path: Page(path)
        for path in sorted(html.rglob("*.html"))
        if "_static" not in path.parts
    }
    meant = functools.cache(file_of)  # the contents are the same on many pages
    return [
        said
        for path, page in pages.items()
        for target in sorted(page.targets)
        if (said := problem(html, pages, meant, path, target))
    ]


def problem(html, pages, meant, path, target):
    "What is wrong with one link, or None. `meant`: see `file_of`."
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:  # another host, mailto:, data: not ours to check
        return None
    file = meant(path.parent, parts.path) if parts.path else path
    where = f"{path.relative_to(html)}: {target}"
    if not file.is_relative_to(html) or not file.exists():
        return f"{where}: there is no such file"
    fragment = unquote(parts.fragment)
    if fragment and file in pages and fragment not in pages[file].ids:
        return f"{where}: there is no such fragment"
    return None
