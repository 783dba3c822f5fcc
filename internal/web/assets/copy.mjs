// Copies the third-party files that the pages use from node_modules into ../static, cuts the
// fonts to the letters and weights in use, and builds the icon sprite from the names in
// icons.txt. Run: npm ci && npm run copy
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import subsetFont from "subset-font";

const modules = new URL("./node_modules/", import.meta.url);
const out = new URL("../static/", import.meta.url);

copyFileSync(new URL("htmx.org/dist/htmx.min.js", modules), new URL("htmx.min.js", out));

// The ranges are those of unicode-range in app.css. Weights: app.css uses 400 to 650.
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => String.fromCodePoint(from + i)).join("");
const fonts = {
  "inter-latin": range(0x20, 0x7e) + range(0xa0, 0xff) + range(0x2010, 0x2027) + "\u0131\u0152\u0153\u02bb\u02bc\u02c6\u02da\u02dc\u2030\u2032\u2033\u2039\u203a\u20ac\u2122\u2190\u2191\u2192\u2193\u2212\u2215",
  "inter-latin-ext": range(0x100, 0x17f).replace("\u0131", "").replace("\u0152", "").replace("\u0153", "") + range(0x218, 0x21b) + range(0x1e80, 0x1e85) + "\u1e9e\u1ef2\u1ef3",
};
for (const [name, letters] of Object.entries(fonts)) {
  const whole = readFileSync(new URL(`@fontsource-variable/inter/files/${name}-wght-normal.woff2`, modules));
  const cut = await subsetFont(whole, letters, { targetFormat: "woff2", variationAxes: { wght: { min: 400, max: 700 } } });
  writeFileSync(new URL(`${name}.woff2`, out), cut);
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
console.log(`wrote htmx, ${Object.keys(fonts).length} fonts and ${names.length} icons`);
