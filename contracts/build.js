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

const OUTPUTS = { "*": ["abi", "evm.bytecode", "evm.deployedBytecode"], "": ["ast"] };

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

/** Imports come from npm packages, never from elsewhere. */
function findImport(name) {
  const file = path.join(ROOT, "node_modules", name);
  if (!name.startsWith("@openzeppelin/contracts/") || !fs.existsSync(file)) {
    return { error: `${name} is not installed: run \`npm ci\` in contracts/` };
  }
  return { contents: fs.readFileSync(file, "utf8") };
}

function compile(solc, sources) {
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(Object.entries(sources).map(([name, content]) => [name, { content }])),
    settings: { ...SETTINGS, outputSelection: Object.fromEntries(Object.keys(sources).map((name) => [name, OUTPUTS])) },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  // Warnings fail too: a contract that moves money ships without any. Those about a library are its authors' to
  // answer (OpenZeppelin's transient reentrancy guard is warned of in every build).
  const findings = (output.errors ?? []).filter(
    (finding) => finding.severity === "error" || finding.sourceLocation?.file.startsWith("src/"),
  );
  if (findings.length > 0) {
    throw new BuildError(findings.map((finding) => finding.formattedMessage).join("\n"), 1);
  }
  return output;
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

/** Libraries, interfaces and abstract contracts are part of others and are not deployed: they have no file. */
function deployable(ast) {
  return ast.nodes
    .filter((node) => node.nodeType === "ContractDefinition" && node.contractKind === "contract" && !node.abstract)
    .map((node) => node.name);
}

/** Map of artifact file name to its exact text. */
function build() {
  const solc = loadCompiler();
  const names = fs.readdirSync(SOURCES).filter((name) => name.endsWith(".sol")).sort();
  const sources = Object.fromEntries(
    names.map((name) => [`src/${name}`, fs.readFileSync(path.join(SOURCES, name), "utf8")]),
  );
  const files = new Map();
  const output = compile(solc, sources);
  for (const sourceName of Object.keys(sources)) {
    for (const contractName of deployable(output.sources[sourceName].ast)) {
      const compiled = output.contracts[sourceName][contractName];
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
