"""Pictures of recorded figures, drawn when the book is built: a mark `<!-- picture: NAME -->` on a page becomes the one of results/NAME.json."""

import json
import re

from .measured import RESULTS

PICTURE = re.compile(r"<!-- picture: (\w+) -->")


def draw(picture, path):
    "A chart of lines: {x, y: names of the axes; xscale, xticks, ylim; lines: [{group, points: [[x, y], …]}, …]}. Lines of a group share colour and marker."
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    fig, ax = plt.subplots(figsize=(7, 4.8), layout="constrained")
    groups = list(dict.fromkeys(line["group"] for line in picture["lines"]))
    for group, colour, marker in zip(
        groups, sns.color_palette("colorblind"), "osD^vP", strict=False
    ):
        for number, line in enumerate(
            line for line in picture["lines"] if line["group"] == group
        ):
            ax.plot(
                *zip(*line["points"]),
                color=colour,
                marker=marker,
                ms=4,
                lw=1.5,
                label=None if number else group,
            )
    ax.set(
        xlabel=picture["x"],
        ylabel=picture["y"],
        xscale=picture["xscale"],
        ylim=picture["ylim"],
    )
    ax.set_xticks(picture["xticks"], [f"{tick:g}" for tick in picture["xticks"]])
    ax.minorticks_off()
    fig.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    sns.despine(ax=ax)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def illustrate(text, folder):
    "Draw the picture of every mark into `folder`, a page's own, and put it where the mark is."

    def put(found):
        result = RESULTS / f"{found[1]}.json"
        if not result.exists():
            raise SystemExit(
                f"No figures are recorded for {found[1]!r}: `make bench NAME={found[1]}` measures them."
            )
        picture = json.loads(result.read_text())["picture"]
        draw(picture, folder / f"measured-{found[1]}.png")
        return f"```{{figure}} measured-{found[1]}.png\n:name: fig-measured-{found[1]}\n:alt: {picture['alt']}\n\n{picture['caption']}\n```"

    return PICTURE.sub(put, text)
