// node read.mjs FOLDER: every envelope of an export, as JSON, read by Automerge and nothing of swarmd's.
// Exit code 1 if a document has other heads than the index says, or a key is not the CIDv1 of its value.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as Automerge from "@automerge/automerge";
import { decode } from "cborg";

const folder = process.argv[2];
const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8"));

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

function cidOf(block) {
  // CIDv1, dag-cbor, sha2-256, in base32.
  const bytes = [1, 0x71, 0x12, 0x20, ...createHash("sha256").update(block).digest()];
  let text = "b";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(value >> (bits - 5)) & 31];
    value &= 0xff;
  }
  return bits ? text + ALPHABET[(value << (5 - bits)) & 31] : text;
}

function check(holds, what) {
  if (!holds) {
    console.error(what);
    process.exit(1);
  }
}

const tags = [];
tags[42] = (link) => link(); // a CID: its bytes will do
const envelopes = {};
for (const row of index.documents) {
  const document = Automerge.load(readFileSync(join(folder, row.file)));
  const heads = Automerge.getHeads(document).sort();
  check(JSON.stringify(heads) === JSON.stringify(row.heads), `${row.file} has the heads ${heads}`);
  check(Object.keys(document).length === row.envelopes, `${row.file} has ${Object.keys(document).length} keys`);
  for (const [key, value] of Object.entries(document)) {
    check(cidOf(value) === key, `${row.file}: ${key} is the key of ${cidOf(value)}`);
    const { kind, thread, sender, payload } = decode(value, { tags });
    const tasks = (payload.tasks ?? []).map(({ id, capability, max_price }) => ({ id, capability, max_price }));
    envelopes[key] = { kind, thread, sender, title: payload.title ?? null, tasks };
  }
}
console.log(JSON.stringify({ envelopes }, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
