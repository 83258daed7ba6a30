// One script and one style under fixed names: the server embeds them by name and tells versions apart by
// their content. The same sources give the same bytes.
import { defineConfig } from "vite";

export default defineConfig({
  logLevel: "warn",
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: false,
    cssCodeSplit: false,
    rollupOptions: {
      input: "src/main.ts",
      output: { entryFileNames: "viewer.js", assetFileNames: "viewer[extname]", inlineDynamicImports: true },
    },
  },
});
