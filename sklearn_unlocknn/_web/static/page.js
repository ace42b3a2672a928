// The page works without this file: it checks sizes before a form is sent, takes files
// that are dropped beside the field, and shows that something is going on.
"use strict";

const form = document.getElementById("form");
const input = document.getElementById("files");

function megabytes(size) {
  return `${(size / 1e6).toPrecision(3)} MB`;
}

/** Return why the chosen files cannot be sent, or "". */
function problem() {
  const files = Array.from(input.files);
  const limits = form.dataset;
  if (files.length > Number(limits.files)) {
    return `${files.length} files are chosen, at most ${limits.files} are read at once.`;
  }
  const large = files.find((file) => file.size > Number(limits.fileBytes));
  if (large) {
    return `${large.name} has ${megabytes(large.size)}, more than ${megabytes(limits.fileBytes)}.`;
  }
  const text = new Blob([document.getElementById("text").value]).size;
  const total = files.reduce((sum, file) => sum + file.size, text);
  if (total > Number(limits.totalBytes)) {
    return `The files have ${megabytes(total)}, more than ${megabytes(limits.totalBytes)}.`;
  }
  if (total === 0) {
    return "Choose files, drop them on the field, or paste a text.";
  }
  return "";
}

function announce(text) {
  const place = document.getElementById("warning");
  place.textContent = text;
  place.hidden = text === "";
  if (text) {
    place.scrollIntoView({ block: "nearest" });
  }
}

if (form) {
  const button = form.querySelector("button");
  const state = document.getElementById("state");
  form.addEventListener("submit", (event) => {
    const text = problem();
    announce(text);
    if (text) {
      event.preventDefault();
      return;
    }
    button.disabled = true;
    state.textContent = "Reading and predicting";
  });
  input.addEventListener("change", () => announce(""));
  window.addEventListener("pageshow", () => {
    button.disabled = false;
    state.textContent = "";
  });
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (holdsFiles(event) && event.target !== input) {
      event.preventDefault();
      input.classList.add("over");
    }
  });
  document.addEventListener("dragleave", () => input.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    input.classList.remove("over");
    if (holdsFiles(event) && event.target !== input) {
      event.preventDefault();
      input.files = event.dataTransfer.files;
      announce("");
      form.scrollIntoView();
      input.focus();
    }
  });
}
