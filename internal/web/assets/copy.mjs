// Copies the third-party files that the pages use from node_modules into ../static, and builds
// the icon sprite from the names in icons.txt. Run: npm ci && npm run copy
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";

const modules = new URL("./node_modules/", import.meta.url);
const out = new URL("../static/", import.meta.url);

const copies = {
  "htmx.org/dist/htmx.min.js": "htmx.min.js",
  "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
  "@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
};
for (const [from, to] of Object.entries(copies)) {
  copyFileSync(new URL(from, modules), new URL(to, out));
}

const names = readFileSync(new URL("icons.txt", import.meta.url), "utf8").split("\n").filter(Boolean);
const symbols = names.map((name) => {
  const svg = readFileSync(new URL(`lucide-static/icons/${name}.svg`, modules), "utf8");
  const body = svg
    .replace(/<!--.*?-->/gs, "")
    .replace(/^\s*<svg[^>]*>/s, "")
    .replace(/<\/svg>\s*$/, "")
    .replace(/\s*\n\s*/g, "")
    .replace(/ \/>/g, "/>");
  return `<symbol id="${name}" viewBox="0 0 24 24">${body}</symbol>`;
});
writeFileSync(
  new URL("icons.svg", out),
  `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`,
);
console.log(`copied ${Object.keys(copies).length} files and ${names.length} icons`);
