// Replace drawings of crystals by chemiscope's viewer, one after another on request: a
// browser has few WebGL contexts. Without WebGL the drawings stay.
"use strict";

const MOST_OPEN = 4;
const address = document.currentScript.dataset.viewer;
const open = [];
let library = null;
let count = 0;

function hasWebGL() {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return Boolean(context);
}

function load() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = resolve;
    script.onerror = () => reject(new Error("the viewer cannot be loaded"));
    document.head.append(script);
  });
  return library;
}

function part(name, id) {
  const made = document.createElement("div");
  made.className = name;
  made.id = id;
  return made;
}

async function show(stage, button) {
  const drawing = stage.querySelector(".drawing");
  button.disabled = true;
  const id = `viewer-${(count += 1)}`;
  const holder = part("holder", id);
  const parts = ["structure", "info", "meta"].map((name) => part(name, `${id}-${name}`));
  holder.append(...parts);
  let visualizer = null;
  try {
    await load();
    stage.append(holder);
    drawing.hidden = true;
    const structure = JSON.parse(stage.dataset.structure);
    const labels = structure.size <= 60;
    const dataset = {
      meta: { name: " " },
      structures: [structure],
      properties: { number: { target: "structure", values: [1] } },
      settings: { structure: [{ unitCell: Boolean(structure.cell), atomLabels: labels }] },
    };
    const config = { structure: parts[0].id, info: parts[1].id, meta: parts[2].id };
    visualizer = await Chemiscope.StructureVisualizer.load(config, dataset);
  } catch (error) {
    console.warn(error);
    holder.remove();
    drawing.hidden = false;
    button.remove();
    return;
  }
  const close = () => {
    visualizer.remove();
    holder.remove();
    drawing.hidden = false;
    delete stage.dataset.shown;
    button.textContent = "Rotate in 3D";
    open.splice(open.indexOf(close), 1);
    button.onclick = () => show(stage, button);
  };
  open.push(close);
  if (open.length > MOST_OPEN) {
    open[0]();
  }
  stage.dataset.shown = "viewer";
  button.textContent = "Show the drawing";
  button.onclick = close;
  button.disabled = false;
}

const stages = Array.from(document.querySelectorAll("[data-structure]"));
if (stages.length && hasWebGL()) {
  stages.forEach((stage, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = "Rotate in 3D";
    button.onclick = () => show(stage, button);
    stage.after(button);
    if (i === 0) {
      show(stage, button);
    }
  });
}
