"""The floors of the library, drawn from its code: `python -m book.floors` prints them, the page *Architecture* shows the picture.

A room is a package or a single module of vae_nb. It may import only from rooms to its left in `ORDER`; inside a package, only from modules
to their left, in the order of their notebooks in _toc.yml.
"""

import ast
import io
import re
import tokenize
from html import escape

from .project import ROOT, dotted, library, module_path, toc_files

# the one list of the order of imports
ORDER = """core likelihoods elbo faces networks builders saving data plots vae conv decodings augment joint
objectives priors labels train evaluate latent explore exercises recipes cli""".split()


def imports(path, name, package=False):
    "The modules and packages of vae_nb that a file imports, wherever in it, as dotted names: `data`, `data.images`."
    home = name.split(".") if package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("vae_nb."):
                    yield alias.name.removeprefix("vae_nb.")
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or "").split(".") if node.module else []
        if node.level:
            module = home[: len(home) - node.level + 1] + module
        elif module[:1] == ["vae_nb"]:
            module = module[1:]
        else:
            continue
        for alias in node.names:
            inner = ".".join([*module, alias.name])
            yield inner if exists(inner) else ".".join(module)


def exists(name):
    "Whether the library has a module or package of that name."
    path = ROOT.joinpath("vae_nb", *name.split("."))
    return bool(name) and (path.is_dir() or path.with_suffix(".py").exists())


def notebook(name):
    "The notebook that exports a module, as _toc.yml has it: nbs/lib/00_core."
    header = re.search(
        r"File to edit: (?:\.\./)+(\S+)\.ipynb", module_path(name).read_text()
    )
    return header[1]


def code_lines(path):
    "Lines that hold code: no blank ones, no comments, no docstrings."
    text = path.read_text()
    empty = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines = {
        number
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in empty
        for number in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef
        ) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def floors():
    "Room → its modules as (name, lines of code), and the rooms it imports from; in the order of imports."
    rooms = {room: ([], set()) for room in ORDER}
    for path in library():
        name = dotted(path)
        room = name.split(".")[0]
        if (
            room.startswith("_")
            or path.parent == ROOT / "vae_nb"
            and path.stem == "__init__"
        ):
            continue
        modules, uses = rooms.setdefault(room, ([], set()))
        package = path.stem == "__init__"
        if not package:
            modules.append((name, code_lines(path)))
        uses |= {found.split(".")[0] for found in imports(path, name, package)} - {
            room,
            "",
        }
    pages = toc_files()
    for modules, _ in rooms.values():
        modules.sort(key=lambda module: pages.index(notebook(module[0])))
    return {
        room: (
            modules,
            sorted(uses, key=lambda r: ORDER.index(r) if r in ORDER else -1),
        )
        for room, (modules, uses) in rooms.items()
        if modules
    }


def text():
    "The floors as lines of text, the lowest first."
    lines = []
    for room, (modules, uses) in floors().items():
        inside = ", ".join(f"{name.split('.')[-1]} {count}" for name, count in modules)
        lines.append(f"{room:12} {inside}\n{'':12} uses {', '.join(uses) or 'nothing'}")
    return "\n".join(lines)


def picture(width=740):
    "The floors as an SVG that takes the page's own colours, the ground floor at the bottom."
    rows, y = [], 8
    for room, (modules, uses) in reversed(list(floors().items())):
        rows.append(f'<text x="0" y="{y + 17}" font-weight="600">{room}</text>')
        x = 96
        for name, count in modules:
            label = f"{name.split('.')[-1]} · {count}" if "." in name else f"{count}"
            wide = max(7 * len(label) + 14, count / 3)
            if x + wide > width:
                x, y = 96, y + 28
            rows.append(
                f'<rect x="{x}" y="{y}" width="{wide:.0f}" height="24" rx="4" fill="currentColor" fill-opacity="0.08" stroke="currentColor" stroke-opacity="0.45"/>'
                f'<text x="{x + 7}" y="{y + 16}">{escape(label)}</text>'
            )
            x += wide + 6
        rows.append(
            f'<text x="96" y="{y + 40}" font-size="11" opacity="0.75">uses {", ".join(uses) or "nothing"}</text>'
        )
        y += 52
    return (
        f'<svg class="floors" viewBox="0 0 {width} {y}" role="img" aria-label="The rooms of the library, one above the other; each imports only from those below it." '
        f'fill="currentColor" font-size="12.5" font-family="inherit">{"".join(rows)}</svg>'
    )


if __name__ == "__main__":
    print(text())
