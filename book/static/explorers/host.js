// Widgets on a page without a kernel. Sphinx loads this file only on pages that hold widget state.
//
// A page whose widgets are all anywidgets runs on the few functions below. A page that shows any other ipywidget, or links
// widgets to each other, loads Jupyter's own html-manager, which weighs megabytes, from this site.
{
  const here = new URL(".", document.currentScript.src).href;
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

  // Binary traits are kept apart from the others, in base64: put them back where they belong.
  function traitsOf({ state, buffers = [] }) {
    const traits = structuredClone(state);
    for (const { path, data } of buffers) {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const owner = path.slice(0, -1).reduce((object, key) => object[key], traits);
      owner[path.at(-1)] = new DataView(bytes.buffer);
    }
    return traits;
  }

  // The part of a Backbone model that an anywidget may use. There is nobody to send to: what is set stays in the page.
  function makeModel(entry, modelOf) {
    const traits = traitsOf(entry);
    const listeners = new Map();
    const fire = (name, ...told) => [...(listeners.get(name) ?? [])].forEach((listener) => listener(...told));
    const model = {
      get: (name) => traits[name],
      set(name, value) {
        if (traits[name] === value) return;
        traits[name] = value;
        fire(`change:${name}`, model, value);
        fire("change", model);
      },
      save_changes() {},
      send() {},
      on(names, listener) {
        for (const name of names.split(" ")) {
          if (!listeners.has(name)) listeners.set(name, new Set());
          listeners.get(name).add(listener);
        }
      },
      off(names, listener) {
        for (const name of names ? names.split(" ") : [...listeners.keys()])
          listener ? listeners.get(name)?.delete(listener) : listeners.delete(name);
      },
      widget_manager: { get_model: async (id) => modelOf(id) },
    };
    return model;
  }

  // One module and one style sheet for each distinct source text, however many widgets share it.
  const modules = new Map();
  function moduleOf(text) {
    if (!modules.has(text)) {
      const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
      modules.set(text, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(text);
  }

  const styles = new Set();
  function addStyle(text) {
    if (!text || styles.has(text)) return;
    styles.add(text);
    document.head.append(Object.assign(document.createElement("style"), { textContent: text }));
  }

  // The still that the page shows until the widget has taken its place, and keeps if it never does.
  const removeStill = (id) => document.querySelectorAll(`[data-still-of="${id}"]`).forEach((still) => (still.closest(".output") ?? still).remove());

  async function mount(place, id, model) {
    const el = document.createElement("div");
    el.className = "explorer";
    place.after(el);
    try {
      const module = await moduleOf(model.get("_esm"));
      const widget = typeof module.default === "function" ? await module.default() : module.default;
      addStyle(model.get("_css"));
      const signal = new AbortController().signal; // a page never unmounts a widget
      await widget.initialize?.({ model, signal });
      await widget.render?.({ model, el, signal });
      removeStill(id);
    } catch (error) {
      el.textContent = `This explorer could not start (${error.message}).`;
      el.setAttribute("role", "status");
      console.error(error);
    }
  }

  function mountAll(state, views) {
    const models = {};
    const modelOf = (id) => (models[id] ??= makeModel(state[id], modelOf));
    return Promise.all(views.map(([place, id]) => mount(place, id, modelOf(id))));
  }

  const load = (file) =>
    new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: here + file, onload: resolve });
      script.onerror = () => reject(new Error(`cannot load ${script.src}`));
      document.head.append(script);
    });

  async function loadManager(views) {
    for (const file of ["manager/require.js", "amd-paths.js", "manager/embed-amd.js"]) await load(file);
    views.forEach(([, id]) => removeStill(id));
  }

  function start() {
    const saved = document.querySelector(STATE);
    if (!saved) return;
    const { state } = JSON.parse(saved.textContent);
    const views = [...document.querySelectorAll(VIEW)]
      .map((place) => [place, JSON.parse(place.textContent).model_id])
      .filter(([, id]) => state[id]);
    const links = Object.values(state).some((entry) => entry.model_name.endsWith("LinkModel"));
    const small = !links && views.every(([, id]) => state[id].model_module === "anywidget");
    (small ? mountAll(state, views) : loadManager(views)).catch((error) => console.error(error));
  }

  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
}
