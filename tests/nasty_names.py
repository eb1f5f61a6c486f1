"Names that people or their tables give to classes and attributes, each with something that a format would obey."

NASTY = [
    "<!--",
    "</script>",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a&amp;b",
    "a$^_$b",
    "$",
    "US$ and CA$",
    r"\frac{1}{0}",
    'say "no"',
    "it's",
    "two\nlines",
    "a\u2028b",
    "\x1b[31mred",
    "Łódź 😀 日本",
    "half\udc80",
    "constructor",
    "__proto__",
    "_hidden",
    "very long " * 50,
]
