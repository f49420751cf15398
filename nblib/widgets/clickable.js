// Shows a figure whose points are runs; a click, Enter or space on one chooses its run. Files go to the browser.
const POINTS = '[id^="run:"]';

function render({ model, el }) {
  const choose = (event) => {
    const point = event.target.closest(POINTS);
    if (!point || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    model.set("chosen", point.id.slice(4));
    model.save_changes();
  };
  const draw = () => {
    const wasInside = el.contains(document.activeElement);
    el.innerHTML = model.get("svg");
    el.querySelector("svg")?.setAttribute("role", "group"); // not one picture: its points can be reached
    for (const point of el.querySelectorAll(POINTS)) {
      const name = model.get("names")[point.id.slice(4)] ?? point.id.slice(4);
      const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
      title.textContent = name; // shown while the mouse is over the point
      point.prepend(title);
      point.setAttribute("tabindex", "0");
      point.setAttribute("role", "button");
      point.setAttribute("aria-label", name);
      point.setAttribute("aria-pressed", String(point.id.slice(4) === model.get("chosen")));
    }
    if (wasInside) el.querySelector('[aria-pressed="true"]')?.focus({ preventScroll: true });
  };
  el.classList.add("nblib-points");
  el.addEventListener("click", choose);
  el.addEventListener("keydown", choose);
  model.on("change:svg", draw);
  draw();
  return () => model.off("change:svg", draw);
}

function initialize({ model }) {
  model.on("msg:custom", ({ name }, [bytes]) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes]));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
}

export default { initialize, render };
