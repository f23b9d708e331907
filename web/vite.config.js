// Builds into the Python package, under names that stay: the server revalidates by ETag, and the repository keeps one file a name.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defineConfig } from "vite";

const ROOT = import.meta.dirname;
// What the build depends on. tests/moalign/serving/test_page_build.py computes the same sum.
const SOURCES = ["index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.js"];

function files(path) {
  return statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => files(join(path, name))) : [path];
}

function sourcesSum() {
  const sum = createHash("sha256");
  const paths = SOURCES.flatMap((name) => files(join(ROOT, name))).map((path) => relative(ROOT, path).split(sep).join("/"));
  for (const path of paths.sort()) {
    sum.update(`${path}\0`);
    sum.update(readFileSync(join(ROOT, path)));
  }
  return sum.digest("hex");
}

const remember = {
  name: "remember-the-sources",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${sourcesSum()}\n` });
  },
};

export default defineConfig({
  base: "./",
  plugins: [remember],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../moalign/serving/page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    rollupOptions: {
      output: { entryFileNames: "page/page.js", chunkFileNames: "page/[name].js", assetFileNames: "page/page[extname]" },
    },
  },
  // `npm run dev` shows the sources while a server on port 8000 answers.
  server: { proxy: { "/v1": "http://127.0.0.1:8000", "/health": "http://127.0.0.1:8000" } },
});
