"""The API reference: a page for each module, made of what its notebooks say of the code they export. Reads the source and imports none of it."""

import ast
import io
import re
import tokenize
from functools import cached_property

from .project import ROOT, module_path, modules, read_notebook, settings, source

PLACE = re.compile(r"^# %% (?:\.\./)+nbs/(\S+)\.ipynb", re.MULTILINE)
CODE = re.compile(
    r"""(`[^`]*`)|((?:\w+=)?"[^"`]*"|(?<!\w)'[\w. -]+'(?!\w)|(?<![\w-])--\w[\w-]*)"""
)  # code; what would get curly quotes or a dash
MEASURES = {
    "len": "number of ",
    "numel": "number of ",
    "min": "least of ",
    "max": "largest of ",
    "type": "type of ",
}


class Module:
    "One generated module: its tree, its comments, and the notebook that each line came from."

    def __init__(self, name, path=None):
        self.name, self.path = name, path or module_path(name)
        self.text = self.path.read_text()
        self.tree = ast.parse(self.text)
        self.about = ast.get_docstring(self.tree) or ""

    @cached_property
    def comments(self):
        "Line number → the comment at its end."
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {
            t.start[0]: t.string.lstrip("# ")
            for t in tokens
            if t.type == tokenize.COMMENT
        }

    @cached_property
    def exported(self):
        "Name → where it is defined, in the order of the source; what is in `__all__`."
        found = {}
        for node in self.tree.body:
            targets = getattr(node, "targets", [getattr(node, "target", node)])
            targets = [
                name
                for t in targets
                for name in (t.elts if isinstance(t, ast.Tuple) else [t])
            ]
            found |= {getattr(t, "name", getattr(t, "id", None)): node for t in targets}
        return {
            name: node
            for name, node in found.items()
            if name in ast.literal_eval(found["__all__"].value)
        }

    def definition(self, name):
        "Where a name of the module is assigned: here, or in the module of ours that it is from."
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
                return node
            if isinstance(node, ast.ImportFrom) and name in {
                alias.name for alias in node.names
            }:
                package = self.name.split(".")[: -node.level] if node.level else []
                full = ".".join([*package, node.module or ""])
                if node.level or full.startswith("vae_nb."):
                    return Module(full.removeprefix("vae_nb.")).definition(name)
        return None

    def later(self, name):
        "The keys that a dictionary gets further down in the module."
        for node in self.tree.body:
            target, call = (
                getattr(node, "targets", [None])[0],
                getattr(node, "value", None),
            )
            if isinstance(target, ast.Subscript) and ast.unparse(target.value) == name:
                yield ast.literal_eval(target.slice)
            if (
                isinstance(call, ast.Call)
                and ast.unparse(call.func) == f"{name}.update"
            ):
                yield from (keyword.arg for keyword in call.keywords)

    def kind(self, annotation):
        "A type and, of a command's option, its help."
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return annotation.value, ""
        named = (
            self.definition(annotation.id) if isinstance(annotation, ast.Name) else None
        )
        annotation = named.value if isinstance(named, ast.Assign) else annotation
        if not ast.unparse(annotation).startswith("Annotated["):
            return ast.unparse(annotation), ""
        kind, option = annotation.slice.elts
        return ast.unparse(kind), next(
            (message(k.value) for k in option.keywords if k.arg == "help"), ""
        )

    def notebook(self, node):
        "The page that defines a node: lib/00_core."
        return PLACE.findall("\n".join(self.text.splitlines()[: node.lineno]))[-1]


def about(node):
    "A docstring without what `book/export.py` adds to it: the comments, which have a place of their own on the page."
    return re.split(r"\n\n(?:Args|Returns):\n", ast.get_docstring(node) or "")[0]


def title(page):
    "The title of a notebook."
    return next(
        source(c)
        for c in read_notebook(ROOT / f"nbs/{page}.ipynb")["cells"]
        if c["cell_type"] == "markdown"
    ).split("\n")[0][2:]


def arguments(node):
    "The arguments of a function with their defaults (None: has none); `self` and its like are left out, and so is what marks the rest as keywords."
    a = node.args
    plain = a.posonlyargs + a.args
    pairs = list(zip(plain, [None] * (len(plain) - len(a.defaults)) + a.defaults))
    pairs += (
        [(a.vararg, None)] * bool(a.vararg)
        + list(zip(a.kwonlyargs, a.kw_defaults))
        + [(a.kwarg, None)] * bool(a.kwarg)
    )
    return [(arg, default) for arg, default in pairs if arg.arg not in ("self", "cls")]


def signature(module, name, node):
    "A call as it is written: on one line if it fits, else a line for each argument."
    stars, parts = {node.args.vararg: "*", node.args.kwarg: "**"}, []
    for arg, default in arguments(node):
        if (
            node.args.kwonlyargs
            and arg is node.args.kwonlyargs[0]
            and not node.args.vararg
        ):
            parts.append("*")
        kind = f": {module.kind(arg.annotation)[0]}" if arg.annotation else ""
        parts.append(
            stars.get(arg, "")
            + arg.arg
            + kind
            + ("" if default is None else f" = {ast.unparse(default)}")
        )
    back = f" -> {module.kind(node.returns)[0]}" if node.returns else ""
    line = f"{name}({', '.join(parts)}){back}"
    return (
        line
        if len(line) <= 78
        else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){back}"])
    )


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


def commented(module, node):
    "(argument, comment) for the arguments that have a line and a comment of their own."
    lines = [(arg.arg, (default or arg).end_lineno) for arg, default in arguments(node)]
    alone = [line for _, line in lines]
    return [
        (name, module.comments[line])
        for name, line in lines
        if alone.count(line) == 1 and line != node.lineno and line in module.comments
    ]


def documented(module, node):
    "(argument, what it is) for the arguments that have a comment, or a help text."
    said = {
        arg.arg: module.kind(arg.annotation)[1]
        for arg, _ in arguments(node)
        if arg.annotation
    } | dict(commented(module, node))
    return [(arg.arg, said[arg.arg]) for arg, _ in arguments(node) if said.get(arg.arg)]


def returned(module, node):
    "The comment on what a function gives back: it stands on the line that ends the signature."
    last = max(
        [
            node.lineno,
            *(
                (default or arg).end_lineno + 1
                for arg, default in arguments(node)
                if (default or arg).lineno > node.lineno
            ),
        ]
    )
    return module.comments.get(last) if last < node.body[0].lineno else None


def message(node):
    "A text with what varies in braces; a part computed after a full stop, a hint, is left out."
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(
        str(p.value) if isinstance(p, ast.Constant) else f"{{{varying(p)}}}"
        for p in parts
    )
    return re.sub(r"\s+", " ", re.sub(r"(?<=\.)\{[^}]*\}(?= |$)", "", text)).replace(
        "`", "'"
    )


def varying(node):
    "What an expression is about, in a word: names for ', '.join(names), shape for tuple(x.shape)."
    if (
        isinstance(node, (ast.Name, ast.Attribute))
        and getattr(node, "attr", "") != "__name__"
    ):
        return getattr(node, "id", "") or node.attr
    if isinstance(node, ast.Call):
        inner = node.args[-1] if node.args else getattr(node.func, "value", None)
        return MEASURES.get(ast.unparse(node.func).split(".")[-1], "") + varying(inner)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return f"{varying(node.left)} - {ast.unparse(node.right)}"
    inner = next(
        (
            getattr(node, part)
            for part in ("value", "left", "iter", "body")
            if hasattr(node, part)
        ),
        None,
    )
    inner = node.generators[0] if hasattr(node, "generators") else inner
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
    for call in (
        n.exc
        for n in ast.walk(node)
        if isinstance(n, ast.Raise)
        and n not in again
        and isinstance(n.exc, ast.Call)
        and n.exc.args
    ):
        if (
            " " in re.sub(r"\{[^}]*\}", "", text := message(call.args[0])).strip()
        ):  # a sentence; not an exit status, not a value handed on
            yield ast.unparse(call.func), text


def callable_text(module, name, node):
    "Signature, purpose, arguments, result and errors of a function or method."
    parts = [f"```python\n{signature(module, name, node)}\n```", coded(about(node))]
    if table := documented(module, node):
        parts.append(
            "\n".join(
                [
                    "| argument | what it is |",
                    "| --- | --- |",
                    *(f"| `{arg}` | {cell(said)} |" for arg, said in table),
                ]
            )
        )
    if said := returned(module, node):
        parts.append(f"**Returns** {prose(said)}")
    parts += [f"**Raises** `{error}`: `{message}`" for error, message in refusals(node)]
    return "\n\n".join(p for p in parts if p)


def field(module, node):
    "A field with its type and, where it is plain, its default."
    plain = node.value and not isinstance(node.value, ast.Call)
    return f"`{node.target.id}: {module.kind(node.annotation)[0]}{f' = {ast.unparse(node.value)}' if plain else ''}`"


def class_text(module, name, node):
    "Purpose, fields and methods of a class."
    own = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
    bases = ", ".join(ast.unparse(b) for b in node.bases)
    parts = [coded(about(node)), f"Extends `{bases}`." if bases else ""]
    fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
    rows = [(field(module, f), module.comments.get(f.end_lineno, "")) for f in fields]
    if any(said for _, said in rows):
        parts.append(
            "\n".join(
                [
                    "| field | what it is |",
                    "| --- | --- |",
                    *(f"| {cell(code)} | {cell(said)} |" for code, said in rows),
                ]
            )
        )
    elif rows:
        parts.append("Fields: " + ", ".join(code for code, _ in rows) + ".")
    if "__init__" in own:
        parts.append(callable_text(module, name, own["__init__"]))
    shown = {
        n: m for n, m in own.items() if not n.startswith("_") and ast.get_docstring(m)
    }
    for method, m in shown.items():
        kind = [ast.unparse(d) for d in m.decorator_list]
        call = f"{name if 'staticmethod' in kind or 'classmethod' in kind else ''}.{method}"
        text = (
            f"`.{method}` {coded(about(m))}"
            if "property" in kind
            else callable_text(module, call, m)
        )
        parts.append(f":::{{div}} api-method\n{text}\n:::")
    return "\n\n".join(p for p in parts if p)


def constant_text(module, name, node):
    "The value and the comment of a constant; only its keys where the value is long, computed, or grows further down."
    value, target = node.value, getattr(node, "targets", [None])[0]
    if isinstance(target, ast.Tuple):  # two names in one line: to each its own
        value = value.elts[[t.id for t in target.elts].index(name)]
    said = module.comments.get(node.lineno) or module.comments.get(node.end_lineno, "")
    if ast.unparse(value).startswith("Annotated["):  # a command's option
        kind, help_text = module.kind(value)
        return f"`{kind}`: {prose(help_text or said)}"
    later, text = list(module.later(name)), f"{name} = {ast.unparse(value)}"
    if (
        len(text) < 300
        and "\\n" not in text
        and not later
        and not isinstance(value, ast.DictComp)
    ):
        text = f"```python\n{text}\n```"
    else:
        keys = [
            ast.unparse(key)
            for key in getattr(value, "keys", [])
            if isinstance(key, ast.Constant)
        ] + list(map(repr, later))
        text = "Keys: " + ", ".join(f"`{key}`" for key in keys) + "." if keys else ""
    return f"{text}\n\n{prose(said)}".strip()


def entry(module, name, node):
    "One exported name."
    home, lines = settings(), f"#L{node.lineno}-L{node.end_lineno}"
    page = module.notebook(node)
    links = f"[{title(page)}](../{page}.ipynb) · [source]({home['git_url']}/blob/{home['branch']}/{module.path.relative_to(ROOT).as_posix()}{lines})"
    if isinstance(node, ast.FunctionDef):
        text = callable_text(module, name, node)
    elif isinstance(node, ast.ClassDef):
        text = class_text(module, name, node)
    else:
        text = constant_text(module, name, node)
    return f"## `{name}`\n\n{text}\n\n{links}"


def page(name):
    "A module's page, in Markdown."
    module = Module(name)
    return (
        "\n\n".join(
            [
                f"# `vae_nb.{name}`",
                f"> {coded(module.about)}",
                *(entry(module, n, node) for n, node in module.exported.items()),
            ]
        )
        + "\n"
    )


def overview():
    "The table of all modules."
    rows = [
        f"| [`vae_nb.{name}`](api/{name}.md) | {len(m.exported)} | {cell(m.about)} |"
        for name in modules()
        for m in [Module(name)]
    ]
    return "\n".join(
        ["| module | names | what it is for |", "| --- | --- | --- |", *rows]
    )
