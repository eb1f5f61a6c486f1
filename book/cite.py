"How to cite the book: CITATION.cff as a sentence and as BibTeX."

import yaml

from .project import ROOT


def reference():
    "What CITATION.cff says."
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def citation():
    "The citation, in Markdown."
    cff = reference()
    authors = " and ".join(
        a.get("name") or f"{a['family-names']}, {a['given-names']}"
        for a in cff["authors"]
    )
    year, home = cff["date-released"].year, cff["repository-code"]
    fields = {
        "title": f"{{{cff['title']}}}",
        "author": f"{{{authors}}}",
        "year": year,
        "version": cff["version"],
        "url": home,
        "license": cff["license"],
    }
    entry = "\n".join(f"  {key:<8}= {{{value}}}," for key, value in fields.items())
    said = f"{authors} ({year}). *{cff['title']}*, version {cff['version']}. <{home}>"
    return f"> {said}\n\n```bibtex\n@software{{vae_nb,\n{entry}\n}}\n```"
