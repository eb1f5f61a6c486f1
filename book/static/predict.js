// "Predict first": the answers of a question become buttons; a click says which is right, and why. Nothing is stored. Without this script
// the explanations stay folded below the question, as they do in a notebook.
addEventListener("DOMContentLoaded", () => {
  for (const head of document.querySelectorAll("article p > strong:first-child")) {
    if (head.textContent.trim() !== "Predict first.") continue;
    const list = head.parentElement.nextElementSibling, fold = list?.nextElementSibling;
    if (list?.tagName !== "UL" || fold?.tagName !== "DETAILS") continue;
    const why = [...fold.querySelectorAll(":scope > ul > li")];
    const right = why.findIndex(item => item.querySelector("strong")?.textContent === "Right.");
    const said = document.createElement("div");
    said.className = "predict-said";
    said.setAttribute("role", "status");
    const buttons = [...list.children].map((item, choice) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...(item.querySelector(":scope > p") ?? item).childNodes);
      for (const link of button.querySelectorAll("a")) link.replaceWith(...link.childNodes); // a button holds no link
      item.replaceChildren(button);
      button.addEventListener("click", () => {
        buttons.forEach((other, at) => {
          other.dataset.answer = at === right ? "right" : at === choice ? "wrong" : "";
          other.setAttribute("aria-pressed", at === choice);
        });
        const told = choice === right ? [choice] : [choice, right];
        said.replaceChildren(...told.map(at => {
          const part = document.createElement("div");
          part.append(...why[at].cloneNode(true).childNodes);
          return part;
        }));
      });
      return button;
    });
    head.parentElement.classList.add("predict");
    list.classList.add("predict-answers");
    fold.hidden = true;
    fold.after(said);
  }
});
