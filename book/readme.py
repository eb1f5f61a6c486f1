"""The parts of README.md that are made: its tables, the list of chapters, its picture; and a copy with absolute links, for PyPI.

`make readme` writes them; a test compares the text.
"""

import argparse
import re
from pathlib import Path

from .colab import badge
from .measured import fill
from .project import ROOT, notebooks, read_notebook, settings, source

README, PICTURE = ROOT / "README.md", ROOT / "book/static/readme.png"
CHAPTERS = re.compile(r"(<!-- chapters -->\n).*?(<!-- end of chapters -->)", re.DOTALL)
LINK = re.compile(
    r"(!?)(\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\])\((?!https?:|#)([^)]+)\)"
)


def chapter_list():
    "A row for each chapter: what it is about, and the badge that opens it."
    rows = ["| chapter | what it is about | run it |", "| --- | --- | --- |"]
    for name, path in notebooks().items():
        if "/" not in name and name != "index":
            first = next(
                source(c)
                for c in read_notebook(path)["cells"]
                if c["cell_type"] == "markdown"
            ).split("\n")
            rows.append(
                f"| [{first[0][2:]}](nbs/{name}.ipynb) | {first[2][2:]} | {badge(name, 'book/static/colab.svg')} |"
            )
    return "\n".join(rows)


def filled(text):
    "The README's text with its parts as they are now."
    return CHAPTERS.sub(
        lambda found: f"{found[1]}{chapter_list()}\n{found[2]}",
        fill(text, keep_marks=True),
    )


def absolute(text):
    "Text whose links and pictures work outside the repository."
    home = settings()
    pages = f"{home['git_url']}/blob/{home['branch']}"
    raw = f"https://raw.githubusercontent.com/{home['user']}/{home['repo']}/{home['branch']}"
    return LINK.sub(
        lambda m: f"{m[1]}{absolute(m[2])}({raw if m[1] else pages}/{m[3]})", text
    )


def mosaic(images, columns, cell):
    "Images (N, C, H, W) in [0, 1], enlarged to `cell` pixels, in rows of so many: a picture (rows·cell, columns·cell, 3) of bytes."
    import torch

    x = torch.nn.functional.interpolate(
        images.expand(-1, 3, -1, -1), size=cell, mode="bicubic", antialias=True
    ).clamp(0, 1)
    x = x.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return (255 * x).round().byte().numpy()


def draw():
    "Three models at work: a map of handwriting, digits sorted without a label, and faces that smile and put on glasses."
    import torch
    from PIL import Image

    from vae_nb import pretrained
    from vae_nb.data import load
    from vae_nb.evaluate import encode_all
    from vae_nb.joint import category_of
    from vae_nb.latent import attribute_direction, edit, manifold

    with torch.no_grad():
        landscape = pretrained("digits").decode(manifold(20)).mean
        sorter, digits = pretrained("joint_digits"), load("mnist", "valid", n=1000)
        z = encode_all(sorter, digits)
        kinds = category_of(sorter, z)
        order = sorted(
            range(10), key=lambda kind: digits.labels[kinds == kind].float().median()
        )  # of the columns: from 0 to 9, as far as that can be
        sorted_z = torch.stack([z[kinds == kind][:4] for kind in order], 1)
        written = sorter.decode(sorted_z.flatten(0, 1)).mean
        painter, faces = pretrained("faces"), load("faces", n=4000)
        z = encode_all(painter, faces)
        plain = (
            faces.attributes[
                :,
                [
                    faces.attribute_names.index(name)
                    for name in ("smile", "eyeglasses", "hat")
                ],
            ]
            <= 0
        ).all(1)
        first, second = z[plain][:2]
        smile, glasses = (
            attribute_direction(painter, faces, name, z=z, controls=other)
            for name, other in (("smile", "eyeglasses"), ("eyeglasses", "smile"))
        )
        steps = torch.linspace(0, 1, 5)
        edited = [
            edit(face, way, (steps * way.strength).tolist())
            for face, way in ((first, smile), (second, glasses))
        ]
        edited = painter.decode(torch.cat(edited)).mean
    page = Image.new("RGB", (1224, 560), "white")
    page.paste(Image.fromarray(mosaic(landscape, 20, 28)), (0, 0))
    page.paste(Image.fromarray(mosaic(edited, 5, 128)), (584, 0))
    page.paste(Image.fromarray(mosaic(written, 10, 64)), (584, 304))
    return page.quantize(128, dither=Image.Dither.NONE)


def main():
    "The command line."
    parser = argparse.ArgumentParser(
        prog="python -m book.readme", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--picture", action="store_true", help="draw the picture again too"
    )
    parser.add_argument(
        "--absolute", metavar="FILE", help="only make the links of this copy absolute"
    )
    args = parser.parse_args()
    if args.absolute:
        file = Path(args.absolute)
        file.write_text(absolute(file.read_text()))
        return
    README.write_text(filled(README.read_text()))
    if args.picture:
        draw().save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
