// Lint, formatting and import rules for `npm run check` and `npm run format`, after Effect v3's own configuration.
import * as effect from "@effect/eslint-plugin"
import js from "@eslint/js"
import { defineConfig } from "eslint/config"
import simpleImportSort from "eslint-plugin-simple-import-sort"
import sortDestructureKeys from "eslint-plugin-sort-destructure-keys"
import tseslint from "typescript-eslint"

// Which of our packages each package's sources may import. `test` folders are free to import any.
const directions = {
  protocol: [],
  sockets: [],
  files: ["protocol"],
  "local-http": ["protocol", "sockets"],
  transport: ["protocol", "sockets"],
  relay: ["protocol", "sockets", "files", "transport"],
  cluster: ["protocol", "transport", "relay"],
  policy: ["protocol", "files", "transport", "relay"],
  operate: ["protocol", "sockets", "local-http", "transport", "relay", "cluster", "policy"],
  node: ["protocol", "sockets"],
  reach: ["protocol", "sockets", "files", "local-http", "node"],
  command: ["sockets", "files"],
  "tx3-relay": ["protocol", "sockets", "files", "transport", "relay", "policy", "operate", "command"],
  tx3: ["protocol", "sockets", "files", "node", "reach", "command"]
}

// What the pages use of a browser.
const browser = [
  "AbortController",
  "AbortSignal",
  "Intl",
  "ResizeObserver",
  "TextDecoderStream",
  "URLSearchParams",
  "addEventListener",
  "clearInterval",
  "clearTimeout",
  "devicePixelRatio",
  "document",
  "fetch",
  "getComputedStyle",
  "history",
  "location",
  "matchMedia",
  "navigator",
  "performance",
  "sessionStorage",
  "setInterval",
  "setTimeout"
]

export default defineConfig(
  { ignores: ["**/dist", "**/bundle", "coverage", "docs/api"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  tseslint.configs.recommended,
  effect.configs.dprint,
  {
    plugins: {
      "simple-import-sort": simpleImportSort,
      "sort-destructure-keys": sortDestructureKeys
    },
    rules: {
      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          semiColons: "asi",
          quoteStyle: "alwaysDouble",
          trailingCommas: "never",
          operatorPosition: "maintain",
          "arrowFunction.useParentheses": "force",
          // simple-import-sort owns the order
          "module.sortImportDeclarations": "maintain",
          "module.sortExportDeclarations": "maintain",
          "importDeclaration.sortNamedImports": "maintain",
          "exportDeclaration.sortNamedExports": "maintain"
        }
      }],
      // one block without blank lines: packages by name, then relative modules
      "simple-import-sort/imports": ["error", { groups: [["^\\u0000", "^", "^\\."]] }],
      "simple-import-sort/exports": "error",
      "sort-destructure-keys/sort-destructure-keys": "error",
      "no-duplicate-imports": ["error", { allowSeparateTypeImports: true }],
      "object-shorthand": "error",
      "require-yield": "off",
      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-empty-object-type": "off",
      "@typescript-eslint/no-namespace": "off",
      "@typescript-eslint/no-unused-vars": ["error", {
        argsIgnorePattern: "^_",
        caughtErrorsIgnorePattern: "^_",
        destructuredArrayIgnorePattern: "^_",
        varsIgnorePattern: "^_"
      }]
    }
  },
  {
    files: ["**/*.{js,mjs}"],
    languageOptions: { globals: { console: "readonly", process: "readonly" } }
  },
  {
    files: ["**/*.cjs"],
    languageOptions: { globals: { require: "readonly" } },
    rules: { "@typescript-eslint/no-require-imports": "off" }
  },
  {
    files: ["packages/*/page/**"],
    languageOptions: { globals: Object.fromEntries(browser.map((name) => [name, "readonly"])) }
  },
  {
    files: ["packages/**", "bench/**", "test/**"],
    rules: {
      "no-console": "error",
      "no-restricted-imports": ["error", {
        name: "@effect/vitest",
        importNames: ["layer"],
        message: "It replaces it.effect for all later test files of the process; use sharedLayer of @tx3/testing"
      }]
    }
  },
  {
    files: ["packages/*/test/**", "bench/test/**", "test/**"],
    rules: {
      "no-restricted-properties": ["error", {
        object: "Math",
        property: "random",
        message: "A test that fails must fail again; use new Utils.PCGRandom(SEED) of effect"
      }]
    }
  },
  {
    files: ["packages/*/src/**", "bench/src/**"],
    ignores: ["packages/testing/src/**"],
    rules: {
      "no-restricted-syntax": [
        "error",
        {
          selector: ":matches(ImportDeclaration, ExportNamedDeclaration, ExportAllDeclaration)" +
            "[source.value=/^(effect|@effect\\u002F[^\\u002F]+)$/]",
          message: "Import the module, not the barrel: import * as X from \"effect/X\""
        },
        {
          selector: "ImportDeclaration[source.value=/^(effect|@effect\\u002F[^\\u002F]+)\\u002F(?!Function$)/] > " +
            ":not(ImportNamespaceSpecifier)[type=/Specifier$/]",
          message: "Import Effect modules as namespaces: import * as X from \"effect/X\" (only effect/Function by name)"
        },
        {
          selector: "CallExpression[callee.property.name='push'] > SpreadElement.arguments",
          message: "Do not use spread arguments in Array.push"
        }
      ]
    }
  },
  Object.entries(directions).map(([name, allowed]) => ({
    files: [`packages/${name}/src/**`],
    rules: {
      "no-restricted-imports": ["error", {
        patterns: [{
          regex: `^(tx3|tx3-relay|@tx3/(?!(${["-", ...allowed].join("|")})(/|$)).*)(/|$)`,
          message: `packages/${name} imports ${
            allowed.length === 0 ? "none of our packages" : `only ${allowed.join(", ")}`
          }`
        }]
      }]
    }
  }))
)
