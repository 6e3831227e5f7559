// Before the first paint, so that a chosen theme or language does not flash. A classic script: modules run after parsing.
{
  const chosen = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage is forbidden
    }
  };
  const language = chosen("language") ?? navigator.language;
  document.documentElement.lang = language.startsWith("zh") ? "zh-CN" : "en-GB";
  document.documentElement.dataset.theme = chosen("theme") ?? "auto";
}
