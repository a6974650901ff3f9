#!/usr/bin/env node
// The pinned npm solc behind the command line of the native one, as far as forge and crytic-compile use it:
//   --version | --standard-json [--base-path DIR] [--include-path DIR]... < input.json
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const solc = require("solc");
// The emscripten build of solc installs a handler that would hide our own stack traces.
process.removeAllListeners("uncaughtException");

/** The values of an option that may be repeated. */
function values(args, option) {
  return args.flatMap((arg, at) => (arg === option ? [args[at + 1]] : []));
}

function finder(roots) {
  return (name) => {
    const found = roots.map((root) => path.resolve(root, name)).find((file) => fs.existsSync(file));
    return found ? { contents: fs.readFileSync(found, "utf8") } : { error: `${name} was not found` };
  };
}

function main(args) {
  if (args.includes("--version")) {
    console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
    return;
  }
  if (!args.includes("--standard-json")) throw new Error("only --version and --standard-json are supported");
  const roots = [...values(args, "--base-path"), ...values(args, "--include-path")];
  const input = fs.readFileSync(0, "utf8");
  process.stdout.write(solc.compile(input, { import: finder(roots.length > 0 ? roots : [process.cwd()]) }));
}

main(process.argv.slice(2));
