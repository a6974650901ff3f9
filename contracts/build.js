#!/usr/bin/env node
// Compiles src/*.sol to artifacts/NAME.json with the pinned npm solc: no network, same bytes on every machine.
//
//   node contracts/build.js           write the artifacts
//   node contracts/build.js --check   compare a fresh build with the shipped artifacts; exit 1 on any difference
//
// Exit codes: 0 done or equal, 1 a compiler error or a difference, 2 the compiler is missing or not the pinned one.
"use strict";

const { createHash } = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

const ROOT = __dirname;
const SOURCES = path.join(ROOT, "src");
const ARTIFACTS = path.join(ROOT, "artifacts");

// No metadata in the bytecode: a comment or a path must not change what is deployed.
const SETTINGS = {
  evmVersion: "prague",
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 10000 },
};

class BuildError extends Error {
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

function loadCompiler() {
  const pinned = require("./package.json").devDependencies.solc;
  let solc;
  try {
    solc = require("solc");
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    throw new BuildError("solc is not installed: run `npm ci` in contracts/", 2);
  }
  // The emscripten build of solc installs a handler that would hide our own stack traces.
  process.removeAllListeners("uncaughtException");
  if (!solc.version().startsWith(`${pinned}+`)) {
    throw new BuildError(`solc ${solc.version()} is installed, ${pinned} is pinned: run \`npm ci\``, 2);
  }
  return solc;
}

function compile(solc, sources) {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(Object.entries(sources).map(([name, content]) => [name, { content }])),
    settings: { ...SETTINGS, outputSelection: { "*": { "*": ["abi", "evm.bytecode", "evm.deployedBytecode"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const findings = output.errors ?? [];
  if (findings.length > 0) {
    // Warnings fail too: a contract that moves money ships without any.
    throw new BuildError(findings.map((finding) => finding.formattedMessage).join("\n"), 1);
  }
  return output.contracts;
}

function artifact(solc, sourceName, source, contractName, compiled) {
  return {
    contract: contractName,
    source: sourceName,
    source_sha256: createHash("sha256").update(source).digest("hex"),
    compiler: `solc ${solc.version()}`,
    settings: SETTINGS,
    abi: compiled.abi,
    bytecode: `0x${compiled.evm.bytecode.object}`,
    deployed_bytecode: `0x${compiled.evm.deployedBytecode.object}`,
  };
}

/** Map of artifact file name to its exact text. Abstract contracts and interfaces have no bytecode and no file. */
function build() {
  const solc = loadCompiler();
  const names = fs.readdirSync(SOURCES).filter((name) => name.endsWith(".sol")).sort();
  const sources = Object.fromEntries(
    names.map((name) => [`src/${name}`, fs.readFileSync(path.join(SOURCES, name), "utf8")]),
  );
  const files = new Map();
  for (const [sourceName, contracts] of Object.entries(compile(solc, sources))) {
    for (const [contractName, compiled] of Object.entries(contracts)) {
      if (compiled.evm.bytecode.object === "") continue;
      const record = artifact(solc, sourceName, sources[sourceName], contractName, compiled);
      files.set(`${contractName}.json`, `${JSON.stringify(record, null, 1)}\n`);
    }
  }
  return files;
}

function shipped() {
  if (!fs.existsSync(ARTIFACTS)) return new Map();
  const names = fs.readdirSync(ARTIFACTS).filter((name) => name.endsWith(".json")).sort();
  return new Map(names.map((name) => [name, fs.readFileSync(path.join(ARTIFACTS, name), "utf8")]));
}

function check(built) {
  const present = shipped();
  const problems = [];
  for (const [name, text] of built) {
    if (!present.has(name)) problems.push(`artifacts/${name} is missing`);
    else if (present.get(name) !== text) problems.push(`artifacts/${name} differs from a fresh build`);
  }
  for (const name of present.keys()) {
    if (!built.has(name)) problems.push(`artifacts/${name} has no contract in src/`);
  }
  if (problems.length > 0) throw new BuildError(`${problems.join("\n")}\nrun: node contracts/build.js`, 1);
  console.log(`${built.size} artifact(s) equal a fresh build`);
}

function write(built) {
  fs.mkdirSync(ARTIFACTS, { recursive: true });
  for (const name of shipped().keys()) {
    if (!built.has(name)) fs.rmSync(path.join(ARTIFACTS, name));
  }
  for (const [name, text] of built) {
    fs.writeFileSync(path.join(ARTIFACTS, name), text);
    console.log(`artifacts/${name}`);
  }
}

function main(args) {
  const unknown = args.filter((arg) => arg !== "--check");
  if (unknown.length > 0) throw new BuildError(`unknown argument: ${unknown.join(" ")}`, 2);
  const built = build();
  if (args.includes("--check")) check(built);
  else write(built);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(error.message);
  process.exit(error.exitCode);
}
