// Before the first paint, so that a chosen theme does not flash. A classic script: modules run after parsing.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // storage is forbidden
}
