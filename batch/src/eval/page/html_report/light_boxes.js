// A sentence under the pointer or the keyboard lights its boxes on the film.
for (const item of document.querySelectorAll("[data-boxes]")) {
  const boxes = item.dataset.boxes.split(" ").map((id) => document.getElementById(id)).filter(Boolean);
  const film = boxes.length ? boxes[0].closest("svg") : null;
  const light = (on) => {
    if (film) film.classList.toggle("dimmed", on);
    for (const box of boxes) box.classList.toggle("lit", on);
  };
  item.addEventListener("pointerenter", () => light(true));
  item.addEventListener("pointerleave", () => light(false));
  item.addEventListener("focusin", () => light(true));
  item.addEventListener("focusout", () => light(false));
}
