"The first mention of each word of the glossary in a chapter becomes a link to it: done on the page, so that notebooks stay plain Markdown."

import re
from functools import cache

from .project import ROOT

# headings, tables, quotations, directives, code, formulas, links, bold words and references are left alone
LEFT_ALONE = r"```.*?```|\$\$.*?\$\$|^(?:#|\||>|:::)[^\n]*$|`[^`\n]+`|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>|\*\*[^*]+\*\*|^\*?References\b.*\Z"


@cache
def words():
    "The words that book/glossary.md explains."
    inside = (
        (ROOT / "book/glossary.md")
        .read_text()
        .split("```{glossary}\n")[1]
        .split("\n```")[0]
    )
    return tuple(
        line for line in inside.splitlines() if line and not line.startswith(" ")
    )


def pattern(word):
    "A word at the beginning of a sentence or within it, also in the plural."
    first = f"[{word[0].upper()}{word[0].lower()}]"
    return rf"{first}{re.escape(word[1:])}"


def linked(text, seen):
    "Markdown with links at first mentions; `seen` remembers the words of a page."
    longest_first = sorted(words(), key=len, reverse=True)
    any_word = "|".join(f"({pattern(word)})" for word in longest_first)

    def link(found):
        if not found.lastindex:
            return found[0]
        word = longest_first[found.lastindex - 1]
        if word in seen:
            return found[0]
        seen.add(word)
        return f"{{term}}`{found[0]} <{word}>`"

    return re.sub(
        rf"{LEFT_ALONE}|(?<![\w-])(?:{any_word})s?(?![\w-])",
        link,
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
