// A classic script: modules run after the first paint, and a chosen theme or language would flash.
{
  const chosen = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage is forbidden
    }
  };
  const root = document.documentElement;
  root.lang = (chosen("language") ?? navigator.language).startsWith("zh") ? "zh-CN" : "en-GB";
  root.dataset.theme = chosen("theme") ?? "auto";
}
