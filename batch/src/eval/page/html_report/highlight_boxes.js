// A sentence under the pointer or with the keyboard's focus highlights its boxes on the radiograph.
for (const item of document.querySelectorAll("[data-boxes]")) {
  const boxes = item.dataset.boxes.split(" ").map((id) => document.getElementById(id)).filter(Boolean);
  const radiograph = boxes.length ? boxes[0].closest("svg") : null;
  const highlight = (on) => {
    if (radiograph) radiograph.classList.toggle("dimmed", on);
    for (const box of boxes) box.classList.toggle("highlighted", on);
  };
  item.addEventListener("pointerenter", () => highlight(true));
  item.addEventListener("pointerleave", () => highlight(false));
  item.addEventListener("focusin", () => highlight(true));
  item.addEventListener("focusout", () => highlight(false));
}
