// Sample studies as a row of thumbnails.

/** Fills `gallery`. `imageOf(index)` returns the bytes of an image file; `onChoose(index)` receives a click. */
export async function fillGallery(gallery, samples, imageOf, onChoose) {
  if (!samples.length) {
    gallery.textContent = "This bundle has no sample studies.";
    return;
  }
  const buttons = samples.map((_, index) => {
    const choose = document.createElement("button");
    choose.type = "button";
    choose.className = "thumb";
    choose.setAttribute("aria-label", `Sample study ${index + 1}`);
    choose.addEventListener("click", () => {
      for (const other of buttons) other.removeAttribute("aria-current");
      choose.setAttribute("aria-current", "true");
      onChoose(index);
    });
    return choose;
  });
  gallery.replaceChildren(...buttons);
  for (const [index, choose] of buttons.entries()) {
    const image = document.createElement("img");
    image.alt = "";
    image.src = URL.createObjectURL(new Blob([await imageOf(index)]));
    await image.decode().catch(() => {});
    URL.revokeObjectURL(image.src);
    choose.append(image);
  }
}
