"""A Sphinx extension: what the writers of pages leave out, put right before a page is written.

Cells of tables that hold a sentence get the class `prose` (book.css leaves them room). Bibliographies lose two roles of docutils' that ARIA
forbids today, and what unfolds a part of the contents, which has a picture only, gets a name that screen readers say.
"""

from bs4 import BeautifulSoup

SENTENCE = 40  # characters


def repaired(body):
    "The HTML of a page's text with its long cells marked and its bibliography without roles; the same text where there is neither."
    if "<td" not in body and "citation-list" not in body:
        return body
    soup = BeautifulSoup(body, "html.parser")
    for cell in soup.find_all("td", class_=None):
        if len(cell.get_text().strip()) > SENTENCE:
            cell["class"] = "prose"
    for found in soup.select("div.citation-list[role], div.citation[role]"):
        del found["role"]
    return str(soup)


def named(contents):
    "The contents in a sidebar, their folds with a name. The theme gives parsed HTML, or text."
    soup = (
        BeautifulSoup(contents, "html.parser")
        if isinstance(contents, str)
        else contents
    )
    for fold in soup.find_all("summary"):
        fold["aria-label"] = "Pages below"
    return soup


def repair(app, pagename, templatename, context, doctree):
    "Before the page's template is filled, and after the theme has put its functions there."
    if context.get("body"):
        context["body"] = repaired(context["body"])
    if make := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = lambda *args, **kwargs: named(
            make(*args, **kwargs)
        )


def setup(app):
    "Sphinx calls this."
    app.connect("html-page-context", repair, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
