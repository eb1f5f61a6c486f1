"Where things are, and what the book consists of: read once here, used by the runner and by the tests."

import ast
import configparser
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
PROFILES = ("test", "cpu", "gpu")


def settings():
    "The [DEFAULT] section of settings.ini: the one place that names the public home."
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


def toc():
    "The contents, _toc.yml."
    import yaml  # here: benchmarks read this module where there may be none

    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # it is read very often
    return yaml.load((ROOT / "_toc.yml").read_text(), fast)


def toc_files():
    "The files of _toc.yml in reading order, without their ending."
    contents = toc()
    return [contents["root"]] + [
        c["file"] for part in contents["parts"] for c in part["chapters"]
    ]


def library():
    "The Python files of the library, those of its packages included; not nbdev's index, which no code reads."
    return sorted(p for p in (ROOT / "vae_nb").rglob("*.py") if p.name != "_modidx.py")


def dotted(path):
    "The name of a library file as it is imported below vae_nb: `data.load`, or `data` for a package's own file."
    parts = path.relative_to(ROOT / "vae_nb").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_path(name):
    "The file of a module, `data.load`, or of a package, `data`."
    path = ROOT.joinpath("vae_nb", *name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def modules():
    "The packages and modules of the library, in the order of the alphabet."
    return sorted(
        dotted(p)
        for p in library()
        if p.parent != ROOT / "vae_nb" or not p.stem.startswith("_")
    )


def rooms():
    "The packages and single modules of the library that list public names: each has a page below the reference."
    return [
        name
        for name in modules()
        if "." not in name
        and re.search(r"^__all__ = \[[^]]", module_path(name).read_text(), re.M)
    ]


def address(file):
    "The page that a file of _toc.yml becomes: the first folder of a source is not part of it."
    return file.split("/", 1)[1]


def site_toc():
    "The contents of the built site: addresses in the place of files, and the pages of the rooms below the reference."
    contents = toc() | {"root": address(toc()["root"])}
    for chapter in (c for part in contents["parts"] for c in part["chapters"]):
        chapter["file"] = address(chapter["file"])
        if chapter["file"] == "api":
            chapter["sections"] = [{"file": f"api/{name}"} for name in rooms()]
    return contents


def notebooks():
    "The notebooks of the book, page name → path. A page is named by its path below nbs/, say `lib/00_core`."
    found = {
        file.removeprefix("nbs/"): ROOT / f"{file}.ipynb"
        for file in toc_files()
        if file.startswith("nbs/")
    }
    for path in found.values():
        if not path.exists():
            raise SystemExit(
                f"_toc.yml lists {path.relative_to(ROOT)}, which does not exist: correct the list or write the notebook."
            )
    return found


def page_names():
    "Every page of the built book, without .html."
    return [address(file) for file in toc_files()] + [f"api/{name}" for name in rooms()]


def profile_parameters(profile):
    "Chapter → {parameter: value} of one profile."
    if profile not in PROFILES:
        raise SystemExit(
            f"There is no profile {profile!r}: choose one of {', '.join(PROFILES)} (book/profiles/)."
        )
    import yaml

    chapters = (
        yaml.safe_load((ROOT / "book/profiles" / f"{profile}.yaml").read_text()) or {}
    )
    return {name: values or {} for name, values in chapters.items()}


def read_notebook(path):
    "A notebook as the dictionary that is in the file."
    return json.loads(Path(path).read_text(encoding="utf-8"))


def source(cell):
    "A cell's text, whether the file holds it as one string or as a list of lines."
    return "".join(cell["source"])


def tags(cell):
    "A cell's tags."
    return cell["metadata"].get("tags", [])


def published_parameters(notebook):
    "Name → value of the cell tagged `parameters`; {} when there is none."
    cells = [
        c
        for c in notebook["cells"]
        if c["cell_type"] == "code" and "parameters" in tags(c)
    ]
    lines = [line for c in cells for line in ast.parse(source(c)).body]
    return {
        target.id: ast.literal_eval(line.value)
        for line in lines
        if isinstance(line, ast.Assign)
        for target in line.targets
    }
