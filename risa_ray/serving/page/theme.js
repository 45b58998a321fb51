// Light or dark, set before anything is drawn: a classic script, which the page waits for.
(() => {
  const root = document.documentElement;
  const read = () => {
    try {
      return localStorage.getItem("risa-theme") ?? "";
    } catch {
      return ""; // storage is switched off: the system decides, or the switch until the page is left
    }
  };
  const show = (theme) => (theme ? (root.dataset.theme = theme) : delete root.dataset.theme);
  show(read());
  addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = read();
    choice.addEventListener("change", () => {
      show(choice.value);
      try {
        localStorage.setItem("risa-theme", choice.value);
      } catch {
        // see `read`
      }
    });
  });
})();
