"use strict";
// Dark or light as was chosen here, else as the system has it; keys; the menu of narrow screens; the focus stays where it was when a part is
// drawn anew, and what was unfolded stays so.
(() => {
  const chosen = localStorage.getItem("mlops-dark");
  const apply = (dark) => window.Quasar && Quasar.Dark.set(dark);
  const begin = () => (window.Quasar && document.querySelector(".frame") ? ready() : setTimeout(begin, 20));
  const go = { o: "/", r: "/resources", l: "/lineage", p: "/plan", q: "/queue", h: "/hardware", e: "/experiments", c: "/compare", m: "/models",
    d: "/deployments", n: "/monitors", w: "/workflows", a: "/alerts", u: "/audit" };
  const folds = new Map();
  let waiting = false, last = null;
  const typing = (target) => target.closest("input, textarea, select, [contenteditable]");
  function ready() {
    if (chosen) apply(chosen === "dark");
    document.addEventListener("click", (event) => {
      const target = event.target.closest("#dark, #menu");
      if (!target) return;
      if (target.id === "menu") {
        const open = document.querySelector(".frame").classList.toggle("open");
        target.setAttribute("aria-expanded", String(open));
        return;
      }
      const dark = !document.body.classList.contains("body--dark");
      apply(dark);
      localStorage.setItem("mlops-dark", dark ? "dark" : "light");
    });
    document.addEventListener("change", (event) => {
      if (event.target.id === "project") event.target.form.submit();
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
      if (waiting) {
        waiting = false;
        if (go[event.key]) {
          event.preventDefault();
          location.href = "/dashboard" + go[event.key] + document.querySelector(".frame").dataset.query;
        }
      } else if (event.key === "g") waiting = true;
      else if (event.key === "/") {
        const search = document.querySelector("input[type=search]");
        if (search) { event.preventDefault(); search.focus(); }
      } else if (event.key === "?") document.getElementById("keys").showModal();
    });
    document.addEventListener("focusin", (event) => {
      const part = event.target.closest("[data-part]");
      last = part && { part: part.dataset.part, href: event.target.getAttribute("href"), text: event.target.textContent, tag: event.target.tagName };
    });
    document.addEventListener("toggle", (event) => {
      if (event.target.dataset && event.target.dataset.key) folds.set(event.target.dataset.key, event.target.open);
    }, true);
    new MutationObserver(() => {
      if (folds.size) document.querySelectorAll("details[data-key]").forEach((each) => {
        if (folds.has(each.dataset.key) && folds.get(each.dataset.key) !== each.open) each.open = folds.get(each.dataset.key);
      });
      if (!last || document.activeElement !== document.body) return;
      const part = document.querySelector(`[data-part="${last.part}"]`);
      const same = part && [...part.querySelectorAll(last.tag)].find((each) => each.getAttribute("href") === last.href && each.textContent === last.text);
      if (same) same.focus({ preventScroll: true });
    }).observe(document.querySelector("#main"), { childList: true, subtree: true });
    document.body.dataset.ready = "yes";
  }
  begin();
})();
