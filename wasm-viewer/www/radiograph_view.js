// Displays a radiograph with window and level, zoom, bounding boxes and a heat map.

const SVG = "http://www.w3.org/2000/svg";
const ZOOM_MAX = 16;

export class RadiographView {
  #image = null;
  #scale = 1;
  #fit = 1;
  #shift = [0, 0];

  /** `onPick(index | null)` receives the index of the box under the pointer or with the focus. */
  constructor(elements, onPick) {
    Object.assign(this, elements);
    this.onPick = onPick;
    this.#listen();
    new ResizeObserver(() => this.fit()).observe(this.stage);
  }

  /** Shows a radiograph without boxes. */
  show({ width, height, pixels }) {
    this.#image = { width, height };
    const rgba = new Uint8ClampedArray(width * height * 4);
    const words = new Uint32Array(rgba.buffer);
    for (let i = 0; i < pixels.length; i++) words[i] = 0xff000000 | (pixels[i] * 0x010101);
    this.pixels.width = width;
    this.pixels.height = height;
    this.pixels.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
    this.sheet.style.width = `${width}px`;
    this.sheet.style.height = `${height}px`;
    this.boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.boxes.replaceChildren();
    this.heat.hidden = true;
    this.stage.classList.add("has-image");
    this.setWindow(256, 128);
    this.fit();
  }

  /** Maps grey levels from `level - window / 2` to `level + window / 2` to the range from black to white. */
  setWindow(window, level) {
    this.window.value = window;
    this.level.value = level;
    const slope = 255 / window;
    const intercept = 0.5 - (level / 255) * slope;
    for (const part of this.filter.querySelectorAll("feFuncR, feFuncG, feFuncB")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", intercept);
    }
  }

  setDetections(detections) {
    this.boxes.replaceChildren(...detections.map((detection, index) => this.#box(detection, index, detections)));
    this.#draw();
  }

  #box({ class_name, score, region: [x0, y0, x1, y1] }, index, all) {
    const group = svgElement("g", { class: `box hue-${index % 6}`, tabindex: 0, role: "img" });
    group.setAttribute("aria-label", `${class_name}, score ${score.toFixed(2)}`);
    const rect = svgElement("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
    // Names stay inside the image. Of boxes with nearly the same corner only the one with the highest score shows its name,
    // with the number of the others; the others show theirs when highlighted.
    const [right, below] = [x0 > this.#image.width * 0.6, y0 < 24];
    const near = ({ region: [x, y] }) => Math.abs(x - x0) < this.#image.width / 10 && Math.abs(y - y0) < this.#image.height / 25;
    const covered = all.slice(0, index).some(near);
    const more = all.slice(index + 1).filter(near).length;
    const text = svgElement("text", { x: right ? x1 : x0, y: below ? y1 : y0, class: `${below ? "below" : ""} ${covered ? "covered" : ""}` });
    if (right) text.setAttribute("text-anchor", "end");
    text.textContent = more && !covered ? `${class_name} +${more}` : class_name;
    group.append(rect, text);
    for (const [enter, leave] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
      group.addEventListener(enter, () => this.onPick(index));
      group.addEventListener(leave, () => this.onPick(null));
    }
    return group;
  }

  /** Highlights the boxes of these indices and dims the others; `null` highlights none. */
  highlight(indices) {
    [...this.boxes.children].forEach((box, i) => {
      box.classList.toggle("highlighted", indices !== null && indices.includes(i));
      box.classList.toggle("dim", indices !== null && indices.length > 0 && !indices.includes(i));
    });
  }

  showBoxes(shown) {
    this.boxes.classList.toggle("off", !shown);
  }

  /** Shows a square map over `extent` (`x_min, y_min, x_max, y_max` in original pixels); `null` hides it. */
  showMap(values, extent) {
    this.heat.hidden = !values?.length;
    if (this.heat.hidden) return;
    const size = Math.sqrt(values.length);
    let max = 1e-6;
    for (const value of values) max = value > max ? value : max;
    const rgba = new Uint8ClampedArray(values.length * 4);
    values.forEach((value, i) => rgba.set(heatColour(value / max), 4 * i));
    this.heat.width = this.heat.height = size;
    this.heat.getContext("2d").putImageData(new ImageData(rgba, size, size), 0, 0);
    const [x0, y0, x1, y1] = extent;
    Object.assign(this.heat.style, { left: `${x0}px`, top: `${y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px` });
  }

  fit() {
    if (!this.#image) return;
    const { clientWidth, clientHeight } = this.stage;
    this.#fit = Math.min(clientWidth / this.#image.width, clientHeight / this.#image.height) || 1;
    this.#scale = this.#fit;
    this.#shift = [(clientWidth - this.#image.width * this.#scale) / 2, (clientHeight - this.#image.height * this.#scale) / 2];
    this.#draw();
  }

  zoom(factor, at = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    if (!this.#image) return;
    const scale = Math.min(Math.max(this.#scale * factor, this.#fit), this.#fit * ZOOM_MAX);
    const change = scale / this.#scale;
    this.#shift = this.#shift.map((s, axis) => at[axis] - (at[axis] - s) * change);
    this.#scale = scale;
    if (scale === this.#fit) this.fit();
    else this.#draw();
  }

  move(dx, dy) {
    this.#shift = [this.#shift[0] + dx, this.#shift[1] + dy];
    this.#draw();
  }

  #draw() {
    this.sheet.style.transform = `translate(${this.#shift[0]}px, ${this.#shift[1]}px) scale(${this.#scale})`;
    // The text size on the screen is constant.
    this.boxes.style.fontSize = `${13 / this.#scale}px`;
  }

  #listen() {
    const { stage } = this;
    stage.addEventListener("wheel", (event) => {
      if (!this.#image) return;
      event.preventDefault();
      const { left, top } = stage.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 400), [event.clientX - left, event.clientY - top]);
    }, { passive: false });
    const pointers = new Map();
    stage.addEventListener("pointerdown", (event) => {
      if (!this.#image || event.target.closest("label")) return;
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY];
      const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
      if (pointers.size === 2) {
        const other = [...pointers.entries()].find(([id]) => id !== event.pointerId)[1];
        const distance = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
        const { left, top } = stage.getBoundingClientRect();
        this.zoom(distance(now) / distance(before), [(now[0] + other[0]) / 2 - left, (now[1] + other[1]) / 2 - top]);
      } else if (event.shiftKey) {
        this.setWindow(clamp(+this.window.value + dx, 8, 512), clamp(+this.level.value - dy, 0, 255));
      } else if (this.#scale > this.#fit) {
        this.move(dx, dy);
      }
      pointers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
    stage.addEventListener("dblclick", () => this.fit());
    stage.addEventListener("keydown", (event) => this.#key(event));
    for (const slider of [this.window, this.level]) {
      slider.addEventListener("input", () => this.setWindow(+this.window.value, +this.level.value));
    }
  }

  #key(event) {
    const step = 40;
    const actions = {
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(0.8),
      0: () => this.fit(),
      ArrowLeft: () => this.move(step, 0),
      ArrowRight: () => this.move(-step, 0),
      ArrowUp: () => this.move(0, step),
      ArrowDown: () => this.move(0, -step),
      "[": () => this.setWindow(+this.window.value, clamp(+this.level.value - 8, 0, 255)),
      "]": () => this.setWindow(+this.window.value, clamp(+this.level.value + 8, 0, 255)),
    };
    const action = actions[event.key];
    if (!action || !this.#image || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  }
}

function svgElement(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Transparent at 0, orange at 1. */
function heatColour(value) {
  const s = clamp(value, 0, 1);
  return [255, 90 + 130 * s, 40 * s, 190 * s ** 1.3];
}
