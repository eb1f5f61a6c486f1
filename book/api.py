"""The API reference: a page for each module, made of what its notebooks say of the code they export. Reads the source and imports none of it."""
import ast
import io
import re
import tokenize
from functools import cached_property

from .project import ROOT, modules, read_notebook, settings, source

PLACE = re.compile(r"^# %% \.\./nbs/(\S+)\.ipynb", re.MULTILINE)


class Module:
    "One generated module: its tree, its comments, and the notebook that each line came from."

    def __init__(self, name):
        self.name, self.text = name, (ROOT / "vae_nb" / f"{name}.py").read_text()
        self.tree = ast.parse(self.text)
        self.about = ast.get_docstring(self.tree) or ""

    @cached_property
    def comments(self):
        "Line number → the comment at its end."
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}

    @cached_property
    def exported(self):
        "Name → where it is defined, in the order of the source; what is in `__all__`."
        found = {}
        for node in self.tree.body:
            targets = getattr(node, "targets", [getattr(node, "target", node)])
            targets = [name for t in targets for name in (t.elts if isinstance(t, ast.Tuple) else [t])]
            found |= {getattr(t, "name", getattr(t, "id", None)): node for t in targets}
        return {name: node for name, node in found.items() if name in ast.literal_eval(found["__all__"].value)}

    def notebook(self, node):
        "The page that defines a node: lib/00_core."
        return PLACE.findall("\n".join(self.text.splitlines()[: node.lineno]))[-1]


def title(page):
    "The title of a notebook."
    return next(source(c) for c in read_notebook(ROOT / f"nbs/{page}.ipynb")["cells"] if c["cell_type"] == "markdown").split("\n")[0][2:]


def arguments(node):
    "The arguments of a function with their defaults (None: has none); `self` and its like are left out, and so is what marks the rest as keywords."
    a = node.args
    plain = a.posonlyargs + a.args
    pairs = list(zip(plain, [None] * (len(plain) - len(a.defaults)) + a.defaults))
    pairs += [(a.vararg, None)] * bool(a.vararg) + list(zip(a.kwonlyargs, a.kw_defaults)) + [(a.kwarg, None)] * bool(a.kwarg)
    return [(arg, default) for arg, default in pairs if arg.arg not in ("self", "cls")]


def signature(name, node):
    "A call as it is written: on one line if it fits, else a line for each argument."
    stars, parts = {node.args.vararg: "*", node.args.kwarg: "**"}, []
    for arg, default in arguments(node):
        if node.args.kwonlyargs and arg is node.args.kwonlyargs[0] and not node.args.vararg:
            parts.append("*")
        parts.append(stars.get(arg, "") + ast.unparse(arg) + ("" if default is None else f" = {ast.unparse(default)}"))
    back = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{name}({', '.join(parts)}){back}"
    return line if len(line) <= 78 else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){back}"])


def cell(text):
    "Text for a cell of a Markdown table; code in it stays code."
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace("*", "\\*").replace("$", "\\$")


def documented(module, node):
    "(argument, what it is) for the arguments that have a line and a comment of their own."
    lines = [(arg.arg, (default or arg).end_lineno) for arg, default in arguments(node)]
    alone = [line for _, line in lines]
    return [(name, module.comments[line]) for name, line in lines if line in module.comments and alone.count(line) == 1 and line != node.lineno]


def returned(module, node):
    "The comment on what a function gives back: it stands on the line that ends the signature."
    last = max([node.lineno, *((default or arg).end_lineno + 1 for arg, default in arguments(node) if (default or arg).lineno > node.lineno)])
    return module.comments.get(last) if last < node.body[0].lineno else None


def refusals(node):
    "(error, message) for each `raise` that is written with a message; what varies stands in braces, or as … where it is computed."
    for call in (n.exc for n in ast.walk(node) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call) and n.exc.args):
        parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else [call.args[0]]
        text = "".join(str(p.value) if isinstance(p, ast.Constant) else varying(p) for p in parts)
        if " " in text.strip("… "):  # a sentence; not an exit status, not a value handed on
            yield ast.unparse(call.func), re.sub(r"\s+", " ", text).replace("`", "'")


def varying(part):
    "The part of a message that is filled in: {name}, or … for an expression."
    return f"{{{part.value.id}}}" if isinstance(getattr(part, "value", None), ast.Name) else "…"


def callable_text(module, name, node):
    "Signature, purpose, arguments, result and errors of a function or method."
    parts = [f"```python\n{signature(name, node)}\n```", ast.get_docstring(node) or ""]
    if table := documented(module, node):
        parts.append("\n".join(["| argument | what it is |", "| --- | --- |", *(f"| `{arg}` | {cell(said)} |" for arg, said in table)]))
    if said := returned(module, node):
        parts.append(f"**Returns** {cell(said)}")
    parts += [f"**Raises** `{error}`: `{message}`" for error, message in refusals(node)]
    return "\n\n".join(p for p in parts if p)


def class_text(module, name, node):
    "Purpose, fields and methods of a class."
    own = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
    bases = ", ".join(ast.unparse(b) for b in node.bases)
    parts = [ast.get_docstring(node) or "", f"Extends `{bases}`." if bases else ""]
    fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
    if fields:
        rows = [f"| `{cell(ast.unparse(f))}` | {cell(module.comments.get(f.end_lineno, ''))} |" for f in fields]
        parts.append("\n".join(["| field | what it is |", "| --- | --- |", *rows]))
    if "__init__" in own:
        parts.append(callable_text(module, name, own["__init__"]))
    shown = {n: m for n, m in own.items() if not n.startswith("_") and ast.get_docstring(m)}
    for method, m in shown.items():
        kind = [ast.unparse(d) for d in m.decorator_list]
        text = f"`.{method}` {ast.get_docstring(m)}" if "property" in kind else callable_text(module, f".{method}", m)
        parts.append(f":::{{div}} api-method\n{text}\n:::")
    return "\n\n".join(p for p in parts if p)


def entry(module, name, node):
    "One exported name."
    home, lines = settings(), f"#L{node.lineno}-L{node.end_lineno}"
    page = module.notebook(node)
    links = f"[{title(page)}](../{page}.ipynb) · [source]({home['git_url']}/blob/{home['branch']}/vae_nb/{module.name}.py{lines})"
    if isinstance(node, ast.FunctionDef):
        text = callable_text(module, name, node)
    elif isinstance(node, ast.ClassDef):
        text = class_text(module, name, node)
    else:
        text = ast.unparse(node)
        text = f"```python\n{text}\n```" if len(text) < 300 else f"```text\n{text[:300]} …\n```"  # a part cannot be coloured
    return f"## `{name}`\n\n{text}\n\n{links}"


def page(name):
    "A module's page, in Markdown."
    module = Module(name)
    return "\n\n".join([f"# `vae_nb.{name}`", f"> {module.about}", *(entry(module, n, node) for n, node in module.exported.items())]) + "\n"


def overview():
    "The table of all modules."
    rows = [f"| [`vae_nb.{name}`](api/{name}.md) | {len(m.exported)} | {cell(m.about)} |" for name in modules() for m in [Module(name)]]
    return "\n".join(["| module | names | what it is for |", "| --- | --- | --- |", *rows])
