"""Widgets on pages without a kernel: which of the saved models a page shows, the still that stands in for each, and what they need.

papermill keeps the state of every widget of a run in the notebook's metadata; static/explorers/host.js brings it to life again.
"""

import base64
import html
import re

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
REFERENCE = re.compile(r"IPY_MODEL_(\w+)")


def saved_state(notebook):
    "The models of an executed notebook, id → what was saved of it."
    return notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})


def shown(cells):
    "The ids of the models that the outputs of these cells display, in order."
    outputs = [o for c in cells for o in c.get("outputs", [])]
    return [o["data"][VIEW]["model_id"] for o in outputs if VIEW in o.get("data", {})]


def reached(state, ids):
    "The ids given, and of all models that these refer to."
    found, todo = set(), [id for id in ids if id in state]
    while todo:
        if (id := todo.pop()) not in found:
            found.add(id)
            todo += [
                ref
                for ref in REFERENCE.findall(str(state[id]["state"]))
                if ref in state
            ]
    return found


def is_link(entry):
    "Whether a saved model ties two traits together (jslink, jsdlink)."
    return entry["model_name"].endswith("LinkModel")


def kept(state, ids):
    "The part of the state that a page needs: what it shows, what that refers to, and the links between these."
    found = reached(state, ids)
    links = [
        id
        for id, entry in state.items()
        if is_link(entry) and reached(state, [id]) & found
    ]
    found |= reached(state, links)
    return {id: entry for id, entry in state.items() if id in found}


def needs_manager(state, ids):
    "Whether host.js alone cannot show these widgets: one is no anywidget, or some are linked. The same rule stands there."
    return any(map(is_link, state.values())) or any(
        state[id]["model_module"] != "anywidget" for id in ids if id in state
    )


def small(address):
    "Whether a PNG in a data: address is a small picture, which wants to be enlarged without blur; its header holds the width."
    kind, _, data = address.partition("base64,")
    return (
        kind == "data:image/png;"
        and int.from_bytes(base64.b64decode(data[:32])[16:20], "big") <= 128
    )


def still(id, entry):
    "An output that shows a widget's poster, for readers without JavaScript and until the widget has started; None if it has none."
    traits = entry["state"]
    if not traits.get("poster"):
        return None
    alt = html.escape(
        traits.get("alt")
        or "A still of the explorer that takes this place in a browser with JavaScript",
        quote=True,
    )
    kind = "explorer-still small" if small(traits["poster"]) else "explorer-still"
    image = f'<img class="{kind}" data-still-of="{id}" src="{traits["poster"]}" alt="{alt}">'
    said = "<noscript><p>This is a still: with JavaScript switched on an explorer takes its place.</p></noscript>"
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/html": image + said},
    }


def with_still(output, state, where):
    "The outputs that take an output's place on the page: a widget comes after its still."
    if VIEW not in output.get("data", {}):
        return [output]
    id = output["data"][VIEW]["model_id"]
    if id not in state:
        raise SystemExit(
            f"{where}: the state of the widget it shows was not saved (was it closed before the end of the notebook?)."
        )
    poster = still(id, state[id])
    return [poster, output] if poster else [output]
