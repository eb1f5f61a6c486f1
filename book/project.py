"Where things are, and what the book consists of: read once here, used by the runner and by the tests."
import ast
import configparser
import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
PROFILES = ("test", "cpu", "gpu")


def settings():
    "The [DEFAULT] section of settings.ini: the one place that names the public home."
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "settings.ini")
    return parser["DEFAULT"]


def toc_files():
    "The files of _toc.yml in reading order, without their ending."
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [c for part in toc.get("parts", [toc]) for c in part.get("chapters", [])]
    return [toc["root"]] + [c["file"] for c in chapters]


def notebooks():
    "The notebooks of the book, page name → path. A page is named by its path below nbs/, say `lib/00_core`."
    found = {file.removeprefix("nbs/"): ROOT / f"{file}.ipynb" for file in toc_files() if file.startswith("nbs/")}
    for path in found.values():
        if not path.exists():
            raise SystemExit(f"_toc.yml lists {path.relative_to(ROOT)}, which does not exist: correct the list or write the notebook.")
    return found


def page_names():
    "Every page of the built book, without .html: the first folder of a source is not part of the address."
    return [file.split("/", 1)[1] for file in toc_files()]


def profile_parameters(profile):
    "Chapter → {parameter: value} of one profile."
    if profile not in PROFILES:
        raise SystemExit(f"There is no profile {profile!r}: choose one of {', '.join(PROFILES)} (book/profiles/).")
    chapters = yaml.safe_load((ROOT / "book/profiles" / f"{profile}.yaml").read_text()) or {}
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
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code" and "parameters" in tags(c)]
    lines = [line for c in cells for line in ast.parse(source(c)).body]
    return {target.id: ast.literal_eval(line.value) for line in lines if isinstance(line, ast.Assign) for target in line.targets}
