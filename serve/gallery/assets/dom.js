// Small helpers for elements. Texts are set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

export function make(tag, facts = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const AGAIN_MS = 800; // a busy server is asked twice

// Show a picture that may be missing: `absent` is called if it cannot be read.
export function showPicture(image, source, alt, absent = () => {}) {
  image.alt = alt;
  if (image.getAttribute("src") === source) return;
  let tries = 0;
  image.classList.remove("broken");
  image.classList.add("coming");
  image.onload = () => image.classList.remove("coming");
  image.onerror = () => {
    if (image.getAttribute("src") !== source) return;
    if (tries++ === 0 && source.startsWith("/")) {
      setTimeout(() => image.getAttribute("src") === source && (image.src = source), AGAIN_MS);
      return;
    }
    image.classList.replace("coming", "broken");
    absent();
  };
  image.src = source;
}

export function isTyping(target) {
  return target.matches?.("textarea, select, input:not([type=checkbox]):not([type=range]):not([type=file])") ?? false;
}

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex='0']";

function reachable(dialog) {
  return [...dialog.querySelectorAll(FOCUSABLE)].filter(
    (one) => !one.disabled && one.tabIndex >= 0 && one.getClientRects().length > 0,
  );
}

// A modal dialog in which Tab goes round, and which gives the focus back to where it came from.
export function modal(dialog, closed = () => {}) {
  let from = null;
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "Tab") return;
    const all = reachable(dialog);
    const at = all.indexOf(document.activeElement);
    const next = event.shiftKey ? (at <= 0 ? all.length - 1 : at - 1) : (at + 1) % all.length;
    event.preventDefault();
    all[next]?.focus();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  dialog.addEventListener("close", () => {
    closed();
    if (from?.getClientRects().length > 0) from.focus();
    else byId("main").focus({ preventScroll: true }); // it is gone, as after a new search
    from = null;
  });
  return {
    open(first) {
      if (dialog.open) return;
      from = document.activeElement;
      dialog.showModal();
      first?.focus();
    },
    close() {
      if (dialog.open) dialog.close();
    },
    returnTo(element) {
      from = element;
    },
  };
}
