"""The API reference: a page for each room of the library, with its public names. Griffe reads the source; nothing of the library is imported.

Public is what a room lists in `__all__`. A comment inside the list of a package opens a group of names: a heading on the page.
"""

import ast
import re
import tokenize
from functools import cache
from io import StringIO

import griffe

from .project import ROOT, read_notebook, rooms, settings, source

PLACE = re.compile(r"^# %% (?:\.\./)+nbs/(\S+)\.ipynb", re.MULTILINE)
# code; what would get curly quotes or a dash
CODE = re.compile(
    r"""(`[^`]*`)|((?:\w+=)?"[^"`]*"|(?<!\w)'[\w. -]+'(?!\w)|(?<![\w-])--\w[\w-]*)"""
)
MEASURES = {
    "len": "number of ",
    "numel": "number of ",
    "min": "least of ",
    "max": "largest of ",
    "type": "type of ",
}


@cache
def library():
    "The library as griffe reads it."
    return griffe.load(
        "vae_nb",
        search_paths=[ROOT],
        docstring_parser="google",
        docstring_options={"warnings": False},
    )


def groups(room):
    "(heading or '', public names) of a room, in the order of its `__all__`."
    text = room.filepath.read_text()
    listed = next(
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    headings = {
        t.start[0]: t.string.lstrip("# ")
        for t in tokenize.generate_tokens(StringIO(text).readline)
        if t.type == tokenize.COMMENT and listed.lineno < t.start[0] < listed.end_lineno
    }
    found = {}
    for element in listed.elts:
        above = [line for line in headings if line < element.lineno]
        heading = headings[max(above)] if above else ""
        found.setdefault(heading, []).append(ast.literal_eval(element))
    return list(found.items())


def public(name):
    "The public names of a room."
    return [one for _, names in groups(library()[name]) for one in names]


# --- words ---


def coded(text):
    "Prose whose quoted words and options are code."
    return CODE.sub(lambda m: m[1] or f"`{m[2]}`", text)


def prose(text):
    "A comment as Markdown: what is no code in it stands as it is written."
    parts = re.split("(`[^`]*`)", coded(" ".join(text.split())))
    return "".join(
        p if p.startswith("`") else re.sub(r"([*$])", r"\\\1", p).replace("<", "&lt;")
        for p in parts
    )


def cell(text):
    "A comment in a cell of a table."
    return prose(text).replace("|", "\\|")


def table(first, rows):
    "Names and what they are."
    lines = [f"| {first} | what it is |", "| --- | --- |"]
    return "\n".join(
        lines
        + [
            f"| `{name.replace('|', chr(92) + '|')}` | {cell(said)} |"
            for name, said in rows
        ]
    )


# --- what a function refuses ---


def message(node):
    "A text with what varies in braces; a part computed after a full stop, a hint, is left out."
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(
        str(p.value) if isinstance(p, ast.Constant) else f"{{{varying(p)}}}"
        for p in parts
    )
    text = re.sub(r"(?<=\.)\{[^}]*\}(?= |$)", "", text)
    return re.sub(r"\s+", " ", text).replace("`", "'")


def varying(node):
    "What an expression is about, in a word: names for ', '.join(names), shape for tuple(x.shape)."
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and node.attr != "__name__":
        return node.attr
    if isinstance(node, ast.Call):
        inner = node.args[-1] if node.args else getattr(node.func, "value", None)
        return MEASURES.get(ast.unparse(node.func).split(".")[-1], "") + varying(inner)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return f"{varying(node.left)} - {ast.unparse(node.right)}"
    inner = node.generators[0] if hasattr(node, "generators") else None
    for part in ("value", "left", "iter", "body"):
        inner = inner or getattr(node, part, None)
    return varying(inner) if isinstance(inner, ast.AST) else "…"


def refusals(node):
    "(error, message) for each `raise` that is written with a message, and not caught at once to be raised anew."
    tries = [
        t
        for t in ast.walk(node)
        if isinstance(t, ast.Try)
        and any(isinstance(n, ast.Raise) for h in t.handlers for n in ast.walk(h))
    ]
    again = {n for t in tries for part in t.body for n in ast.walk(part)}
    for n in ast.walk(node):
        if not isinstance(n, ast.Raise) or n in again:
            continue
        if isinstance(n.exc, ast.Call) and n.exc.args:
            text = message(n.exc.args[0])
            # a sentence; not an exit status, not a value handed on
            if " " in re.sub(r"\{[^}]*\}", "", text).strip():
                yield ast.unparse(n.exc.func), text


# --- one name ---


def told(thing):
    "A docstring in parts: kind → what griffe reads there."
    parsed = thing.docstring.parsed if thing.docstring else []
    return {section.kind.value: section.value for section in parsed}


def signature(call, function):
    "A call as it is written: on one line if it fits, else a line for each argument."
    parts, starred = [], False
    for p in function.parameters:
        kind, name = p.kind.value, p.name
        if name in ("self", "cls"):
            continue
        name = {"variadic positional": "*", "variadic keyword": "**"}.get(
            kind, ""
        ) + name
        if kind == "keyword-only" and not starred:
            parts.append("*")
        starred |= kind in ("keyword-only", "variadic positional")
        shown = f": {p.annotation}" if p.annotation is not None else ""
        default = (
            p.default if p.default is not None and "variadic" not in kind else None
        )
        parts.append(name + shown + (f" = {default}" if default is not None else ""))
    back = f" -> {function.returns}" if function.returns is not None else ""
    line = f"{call}({', '.join(parts)}){back}".replace(
        "-> 'LatentModel'", "-> LatentModel"
    )
    if len(line) <= 78:
        return line
    return "\n".join([f"{call}(", *(f"    {part}," for part in parts), f"){back}"])


def callable_text(call, function):
    "Signature, purpose, arguments, result and errors of a function or method."
    said = told(function)
    parts = [
        f"```python\n{signature(call, function)}\n```",
        coded(said.get("text", "")),
    ]
    if arguments := said.get("parameters"):
        parts.append(table("argument", [(a.name, a.description) for a in arguments]))
    if back := said.get("returns"):
        parts.append(f"**Returns** {prose(' '.join(r.description for r in back))}")
    node = ast.parse(re.sub(r"^(?=\s)", "if 1:\n", function.source, count=1))
    parts += [f"**Raises** `{error}`: `{text}`" for error, text in refusals(node)]
    return "\n\n".join(part for part in parts if part)


def field(attribute):
    "A field with its type and, where it is plain, its default."
    plain = attribute.value is not None and "(" not in str(attribute.value)
    default = f" = {attribute.value}" if plain else ""
    return f"{attribute.name}: {attribute.annotation}{default}"


def class_text(name, thing):
    "Purpose, fields and methods of a class."
    said, own = told(thing), dict(thing.members)
    bases = ", ".join(map(str, thing.bases))
    parts = [coded(said.get("text", "")), f"Extends `{bases}`." if bases else ""]
    meaning = {a.name: a.description for a in said.get("parameters", ())}
    fields = [
        a
        for a in own.values()
        if a.is_attribute and a.annotation is not None and "property" not in a.labels
    ]
    if meaning and fields:
        parts.append(
            table("field", [(field(a), meaning.get(a.name, "")) for a in fields])
        )
    elif fields:
        parts.append("Fields: " + ", ".join(f"`{field(a)}`" for a in fields) + ".")
    elif "__init__" in own and own["__init__"].lineno:
        parts.append(f"```python\n{signature(name, own['__init__'])}\n```")
        parts.append(table("argument", meaning.items()) if meaning else "")
    for method in own.values():
        if method.name.startswith("_") or not method.docstring:
            continue
        if "property" in method.labels:
            text = f"`.{method.name}` {coded(told(method).get('text', ''))}"
        else:
            free = {"staticmethod", "classmethod"} & method.labels
            text = callable_text(f"{name if free else ''}.{method.name}", method)
        parts.append(f":::{{div}} api-method\n{text}\n:::")
    return "\n\n".join(part for part in parts if part)


def constant_text(name, thing):
    "The value of a constant, or its keys where the value is long, and the comment beside it."
    text = f"{name} = {thing.value}"
    if len(text) < 300:
        shown = f"```python\n{text}\n```"
    else:
        keys = getattr(ast.parse(text).body[0].value, "keys", [])
        shown = (
            "Keys: " + ", ".join(f"`{ast.unparse(k)}`" for k in keys) + "." * bool(keys)
        )
    tokens = tokenize.generate_tokens(StringIO(thing.source).readline)
    comments = [t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT]
    return f"{shown}\n\n{prose(comments[-1]) if comments else ''}".strip()


@cache
def title(notebook):
    "The title of a notebook."
    cells = read_notebook(ROOT / f"nbs/{notebook}.ipynb")["cells"]
    first = next(source(c) for c in cells if c["cell_type"] == "markdown")
    return first.split("\n")[0][2:]


def entry(room, name):
    "One public name: what it is, the page that explains it, its source."
    if name not in room.all_members:
        raise SystemExit(
            f"vae_nb.{room.name}: {name} is public, and griffe does not find it. A public "
            "constant has a line of its own."
        )
    thing = room[name]
    thing = thing.final_target if thing.is_alias else thing
    home, lines = settings(), thing.filepath.read_text().splitlines()
    before = "\n".join(lines[: thing.lineno])
    notebook = PLACE.findall(before)[-1]
    path = thing.filepath.relative_to(ROOT).as_posix()
    where = f"{home['git_url']}/blob/{home['branch']}/{path}#L{thing.lineno}-L{thing.endlineno}"
    if thing.is_function:
        text = callable_text(name, thing)
    else:
        text = class_text(name, thing) if thing.is_class else constant_text(name, thing)
    links = f"[{title(notebook)}](../{notebook}.ipynb) · [source]({where})"
    return f"`{name}`\n\n{text}\n\n{links}"


def page(name):
    "A room's page, in Markdown."
    room = library()[name]
    parts = [f"# `vae_nb.{name}`", f"> {coded(room.docstring.value)}"]
    for heading, names in groups(room):
        parts += [f"## {coded(heading[0].upper() + heading[1:])}"] if heading else []
        mark = "###" if heading else "##"
        parts += [f"{mark} {entry(room, one)}" for one in names]
    return "\n\n".join(parts) + "\n"


def overview():
    "The table of all rooms with their public names."
    rows = [
        f"| [`vae_nb.{name}`](api/{name}.md) | {cell(library()[name].docstring.value)} "
        f"| {', '.join(f'`{one}`' for one in public(name))} |"
        for name in rooms()
    ]
    return "\n".join(
        ["| room | what it is for | names |", "| --- | --- | --- |", *rows]
    )
