// Comfort for browsers that run scripts: every page works without this file.
"use strict";

// Only the fields of the chosen variant are shown.
function choose(select) {
  for (const part of document.querySelectorAll("[data-variant]")) {
    if (part.dataset.variant === select.name) {
      part.hidden = part.dataset.kind !== select.value;
      part.open = !part.hidden;
    }
  }
}
for (const select of document.querySelectorAll("select[data-chooses]")) {
  choose(select);
  select.addEventListener("change", () => choose(select));
}

// A list of many items is narrowed by what is typed.
for (const input of document.querySelectorAll("[data-filters]")) {
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const item of document.getElementsByClassName(input.dataset.filters)) {
      item.hidden = !item.dataset.name.includes(wanted);
    }
  });
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
}

// A ticked item shows its details.
for (const box of document.querySelectorAll(".offer > .tick > input")) {
  box.addEventListener("change", () => { box.closest(".offer").querySelector("details").open = box.checked; });
}

// A file is read into the field beside it.
for (const part of document.querySelectorAll("[data-reads]")) {
  part.hidden = false;
  part.querySelector("input").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file) document.getElementById(part.dataset.reads).value = await file.text();
  });
}

// The browser's own time zone is proposed where nothing else was said.
for (const zone of document.querySelectorAll("[data-zone]")) {
  if (zone.value === "UTC") zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

// The next dates follow what is chosen.
const preview = document.getElementById("preview");
if (preview) {
  const form = preview.closest("form");
  let timer = 0, asked = 0;
  form.addEventListener("input", (event) => {
    if (!event.target.name.startsWith("when.") && event.target.name !== "timezone") return;
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const mine = ++asked;
      const body = new URLSearchParams(new FormData(form));
      body.set("go", "preview");
      const answer = await fetch(form.action, { method: "POST", body });
      if (!answer.ok || mine !== asked) return;
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("preview");
      if (found) preview.replaceChildren(...found.childNodes);
    }, 300);
  });
}

// What goes on is looked at again, until it has ended: then the whole page is. A short load may never be seen going on.
const now = document.getElementById("now");
if (now) {
  let had = now.dataset.again;
  const look = async () => {
    const answer = await fetch(location.pathname);
    if (answer.ok) {
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("now");
      const ended = found && found.dataset.ended && found.dataset.ended !== now.dataset.ended;
      if (found && !found.dataset.again && (had || ended)) { location.replace(location.pathname); return; }
      if (found && !now.contains(document.activeElement)) now.replaceChildren(...found.childNodes);
      had = found && found.dataset.again;
    }
    setTimeout(look, (had ? Number(had) : 10) * 1000);
  };
  setTimeout(look, (had ? Number(had) : 10) * 1000);
}

// A button that was pressed is not pressed twice.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
  });
}
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form")) delete form.dataset.sent;
});
