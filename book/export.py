"""`make export`, its middle: nbdev writes vae_nb/ from the notebooks, and the comments beside arguments go into the docstrings, where `help` and editors look.

In the notebooks an argument is explained once, in the comment on its line; nothing of this is there at runtime unless it is in a docstring.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path


class Module:
    "A generated module: its text, its tree, its comments, and which lines hold nothing else."

    def __init__(self, path):
        self.text = path.read_text()
        self.tree = ast.parse(self.text)
        found = [
            t
            for t in tokenize.generate_tokens(io.StringIO(self.text).readline)
            if t.type == tokenize.COMMENT
        ]
        self.comments = {t.start[0]: t.string.lstrip("# ") for t in found}
        self.alone = {t.start[0] for t in found if not t.line[: t.start[1]].strip()}

    def above(self, line):
        "The comment in lines of its own that ends right above a line; '' if there is none."
        first = line
        while first - 1 in self.alone:
            first -= 1
        return " ".join(self.comments[number] for number in range(first, line))


def about(node):
    "A docstring without what this module adds to it."
    return re.split(r"\n\n(?:Args|Returns):\n", ast.get_docstring(node) or "")[0]


def arguments(node):
    "(argument, the lines on which it begins and ends) of a function, without `self` and its like."
    a = node.args
    plain = a.posonlyargs + a.args
    pairs = list(zip(plain, [None] * (len(plain) - len(a.defaults)) + a.defaults))
    pairs += [(a.vararg, None)] * bool(a.vararg)
    pairs += list(zip(a.kwonlyargs, a.kw_defaults)) + [(a.kwarg, None)] * bool(a.kwarg)
    return [
        (arg.arg, arg.lineno, (default or arg).end_lineno)
        for arg, default in pairs
        if arg.arg not in ("self", "cls")
    ]


def commented(module, node):
    "(argument, comment) for the arguments that have lines of their own, and a comment beside or above."
    lines = [found for found in arguments(node) if found[2] != node.lineno]
    ends = [end for _, _, end in lines]
    said = [
        (name, module.comments.get(end) or module.above(first))
        for name, first, end in lines
        if ends.count(end) == 1
    ]
    return [(name, comment) for name, comment in said if comment]


def returned(module, node):
    "The comment on what a function gives back: it stands on the line that ends the signature."
    last = max(
        [node.lineno, *(end + 1 for *_, end in arguments(node) if end > node.lineno)]
    )
    return module.comments.get(last) if last < node.body[0].lineno else None


def explained(module, node):
    "(argument, comment) of a function, of a class's `__init__`, or of a dataclass's fields."
    if isinstance(node, ast.FunctionDef):
        return list(commented(module, node))
    init = [
        m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"
    ]
    fields = (
        [f for f in node.body if isinstance(f, ast.AnnAssign)]
        if "dataclass" in str([ast.unparse(d) for d in node.decorator_list])
        else []
    )
    noted = [
        (f.target.id, module.comments[f.end_lineno])
        for f in fields
        if f.end_lineno in module.comments
    ]
    return noted + [pair for m in init for pair in commented(module, m)]


def docstring(module, node):
    "What a docstring says, and below it what the comments say."
    args, back = (
        explained(module, node),
        isinstance(node, ast.FunctionDef) and returned(module, node),
    )
    parts = [
        about(node),
        "\n".join(["Args:", *(f"    {name}: {said}" for name, said in args)])
        if args
        else "",
        f"Returns:\n    {back}" if back else "",
    ]
    return "\n\n".join(part for part in parts if part)


def literal(text, indent):
    "A docstring of several lines as it is written in a file."
    first, *rest = text.replace("\\", r"\\").replace('"""', r"\"\"\"").split("\n")
    return "\n".join(
        [
            f'{indent}"""{first}',
            *(f"{indent}{line}" if line else "" for line in rest),
            f'{indent}"""',
        ]
    )


def documented_nodes(tree):
    "The public functions, classes and methods that have a docstring; not the commands, whose docstring is what --help shows."
    for node in tree.body:
        if isinstance(
            node, (ast.FunctionDef, ast.ClassDef)
        ) and not node.name.startswith("_"):
            if ast.get_docstring(node) and not any(
                ast.unparse(d).startswith("command(") for d in node.decorator_list
            ):
                yield node
            yield from documented_nodes(node) if isinstance(node, ast.ClassDef) else []


def with_docstrings(path):
    "The text of a module whose docstrings tell the meaning of arguments and results, without what is said to the page alone."
    module = Module(path)
    lines = module.text.split("\n")
    for node in sorted(
        documented_nodes(module.tree), key=lambda node: -node.lineno
    ):  # from below: what stands above keeps its place
        old, text = node.body[0], docstring(module, node)
        if "\n" in text and lines[old.lineno - 1][: old.col_offset].isspace():
            lines[old.lineno - 1 : old.end_lineno] = literal(
                text, " " * old.col_offset
            ).split("\n")
    return "\n".join(line for line in lines if not line.startswith("#| code-"))


def main(library=Path("vae_nb")):
    "Export, then complete the docstrings of what was exported."
    subprocess.run([Path(sys.executable).parent / "nbdev_export"], check=True)
    for path in sorted(library.rglob("*.py")):
        if "# AUTOGENERATED!" in path.read_text():
            path.write_text(with_docstrings(path))


if __name__ == "__main__":
    main()
