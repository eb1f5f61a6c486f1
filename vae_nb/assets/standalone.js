// Ends the module of a page that is one file: a model that holds its traits and has nobody to send to, and one explorer.
{
  const traits = JSON.parse(document.getElementById("traits").textContent), listeners = new Map();
  const fire = (name) => [...(listeners.get(name) ?? [])].forEach((listener) => listener());
  const model = {
    get: (name) => traits[name],
    set(name, value) {
      if (traits[name] === value) return;
      traits[name] = value;
      fire(`change:${name}`);
    },
    save_changes() {},
    send() {},
    on: (names, listener) => names.split(" ").forEach((name) => listeners.set(name, (listeners.get(name) ?? new Set()).add(listener))),
    off: (names, listener) => names.split(" ").forEach((name) => listeners.get(name)?.delete(listener)),
  };
  document.getElementById("still")?.remove();
  render({ model, el: document.getElementById("explorer") });
}
