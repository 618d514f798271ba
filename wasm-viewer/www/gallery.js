// Sample studies as a row of thumbnails.

/** Fills `gallery`; `onChoose(place)` hears a click. Pictures come from `picture(place)` as bytes. */
export async function fillGallery(gallery, samples, picture, onChoose) {
  if (!samples.length) {
    gallery.textContent = "This bundle has no sample studies.";
    return;
  }
  const buttons = samples.map((sample, place) => {
    const choose = document.createElement("button");
    choose.type = "button";
    choose.className = "thumb";
    choose.setAttribute("aria-label", `Sample study ${place + 1}`);
    choose.addEventListener("click", () => {
      for (const other of buttons) other.removeAttribute("aria-current");
      choose.setAttribute("aria-current", "true");
      onChoose(place);
    });
    return choose;
  });
  gallery.replaceChildren(...buttons);
  for (const [place, choose] of buttons.entries()) {
    const image = document.createElement("img");
    image.alt = "";
    image.src = URL.createObjectURL(new Blob([await picture(place)]));
    await image.decode().catch(() => {});
    URL.revokeObjectURL(image.src);
    choose.append(image);
  }
}
