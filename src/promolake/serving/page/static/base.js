// The theme switch: auto follows the system; the choice is kept in a cookie, so that the server sends the page in it.
"use strict";
{
  const themes = ["auto", "light", "dark"];
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const show = () => {
    button.textContent = button.dataset[root.dataset.theme];
  };
  button.addEventListener("click", () => {
    root.dataset.theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
    show();
    root.dispatchEvent(new Event("themechange"));
  });
  show();
}
