"What `import vae_nb` offers: every name is there when it is asked for, and nothing is imported before."

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import griffe
import pytest

import vae_nb
from book import api
from book.project import rooms

NAMES = vae_nb.__all__
# as README and book of 0.1.0 (e87e799) had them: README.md, nbs/*.ipynb, book/*.md, and
# what the library's own pages show
OLD_IMPORTS = Path(__file__).with_name("fixtures") / "imports_0.1.0.txt"


def python(code):
    "Run code in a fresh interpreter; what it did and said."
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_what_its_module_has(name):
    value = getattr(vae_nb, name)
    room = getattr(vae_nb, vae_nb._ROOMS[name])
    assert inspect.ismodule(room) and getattr(room, name) is value
    assert name in room.__all__, f"{name} has no place in the reference"
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), f"help({name}) is empty"


def test_no_name_is_that_of_a_module():
    folder = Path(vae_nb.__file__).parent
    modules = {p.stem for p in folder.glob("*.py")} | {p.name for p in folder.iterdir()}
    assert not modules & {*NAMES}, "once imported, the module would hide it"
    assert modules >= {*vae_nb._NAMES} and len(NAMES) == len({*NAMES}) > 60


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(vae_nb.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom) and line.level == 1
        for part in line.names:
            assert part.name == part.asname, "only `name as name` is public to them"
            seen[part.name] = line.module
    assert seen == vae_nb._ROOMS
    assert Path(vae_nb.__file__).with_name("py.typed").is_file()


def test_names_are_shown_and_nothing_is_imported_before_it_is_used():
    done = python(
        "import sys, vae_nb; shown = dir(vae_nb)\n"
        "assert {*vae_nb.__all__, 'evaluate', '__version__'} <= {*shown}\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'pandas', 'typer'} & {*sys.modules}\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_a_module_is_there_without_an_import_of_its_own():
    from vae_nb import evaluate

    assert evaluate is vae_nb.evaluate is sys.modules["vae_nb.evaluate"]
    assert callable(vae_nb.evaluate.evaluate)


@pytest.mark.parametrize(
    "wrong, right", [("laod", "load"), ("mlp_vea", "mlp_vae"), ("Image", "Images")]
)
def test_a_misspelt_name_suggests_the_nearest(wrong, right):
    with pytest.raises(AttributeError, match=f"no attribute '{wrong}'.*'{right}'"):
        getattr(vae_nb, wrong)
    assert not hasattr(vae_nb, wrong)
    with pytest.raises(ImportError, match=wrong):
        exec(f"from vae_nb import {wrong}")


def test_a_name_like_no_other_suggests_nothing_and_a_hint_comes_once():
    with pytest.raises(AttributeError, match="no attribute 'xyzzy'$"):
        vae_nb.xyzzy  # noqa: B018
    said = python("import vae_nb; vae_nb.laod").stderr
    assert said.count("Did you mean") == 1


# --- what a room offers ---


def callables(room):
    "(name, function) of a room's public functions, and of its classes' public methods."
    for name in api.public(room):
        thing = api.library()[room][name]
        thing = thing.final_target if thing.is_alias else thing
        if thing.is_function:
            yield f"{room}.{name}", thing
        elif thing.is_class:
            for method, function in thing.members.items():
                shown = not method.startswith("_") or method == "__init__"
                # a dataclass's own __init__ has no line
                if shown and function.kind is griffe.Kind.FUNCTION and function.lineno:
                    yield f"{room}.{name}.{method}", function


def unannotated(function):
    "The arguments of a function without an annotation, and → for its result."
    missing = [
        p.name
        for p in function.parameters
        if p.annotation is None and p.name not in ("self", "cls")
    ]
    if function.returns is None and function.name != "__init__":
        missing.append("→")
    return missing


def test_every_public_function_is_annotated():
    found = {
        name: missing
        for room in rooms()
        for name, function in callables(room)
        if (missing := unannotated(function))
    }
    assert not found


def test_a_missing_annotation_is_found(tmp_path):
    (tmp_path / "bare.py").write_text("def f(a, *b: int, c: str = ''):\n    pass\n")
    function = griffe.load("bare", search_paths=[tmp_path])["f"]
    assert unannotated(function) == ["a", "→"]


def test_public_is_what_people_type():
    count = {room: len(api.public(room)) for room in rooms()}
    assert all(count.values()) and sum(count.values()) <= 135, count
    assert "networks" not in count, "a room without public names has no page"


@pytest.mark.parametrize("line", OLD_IMPORTS.read_text().splitlines())
def test_an_import_of_0_1_0_works_or_names_the_new_place(line):
    try:
        exec(line, {})
    except ImportError as error:
        now = re.search(r"is now (\w+): (from vae_nb\S* import \1)$", str(error))
        assert now, f"{line}: {error}"
        exec(now[2], {})
