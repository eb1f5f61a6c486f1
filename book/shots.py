"Pictures of every page, wide and as on a phone, light and dark, in _build/shots: for people to look at. `make shots`."

import argparse

from .browser import MISSING, all_pictures, browser, chromium, served, settled
from .project import BUILD, page_names

WIDTHS = {"wide": (1280, 900), "phone": (390, 844)}


def main():
    "The command line."
    parser = argparse.ArgumentParser(prog="python -m book.shots", description=__doc__)
    parser.add_argument(
        "--html", default=BUILD / "html", help="the built book (%(default)s)"
    )
    parser.add_argument("--page", default="", help="only pages whose name holds this")
    args = parser.parse_args()
    if not chromium():
        raise SystemExit(MISSING)
    shots = BUILD / "shots"
    with served(args.html) as home, browser() as chrome:
        for width, (w, h) in WIDTHS.items():
            for scheme in ("light", "dark"):
                tab = chrome.new_page(
                    viewport={"width": w, "height": h}, color_scheme=scheme
                )
                for name in filter(lambda name: args.page in name, page_names()):
                    tab.goto(f"{home}{name}.html")
                    settled(tab)
                    all_pictures(tab)
                    target = shots / f"{name.replace('/', '-')}-{width}-{scheme}.png"
                    tab.screenshot(path=target, full_page=True)
                    print(target)
                tab.close()


if __name__ == "__main__":
    main()
