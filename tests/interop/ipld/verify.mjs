// node verify.mjs FILE: verifies a proof of `swarmd proof make` with IPLD's JavaScript and nothing of swarmd's; prints
// what it shows as JSON. Exit code 1 if a block does not hash to its CID, or the root does not lead to the envelope.
import { createReadStream } from 'node:fs'
import { CarReader } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

const car = await CarReader.fromIterable(createReadStream(process.argv[2]))
const [root, signed] = await car.getRoots()

async function take (cid) {
  const block = await car.get(cid)
  if (!block) return null
  const made = CID.createV1(dagCbor.code, await sha256.digest(block.bytes))
  if (!made.equals(cid)) {
    console.error(`the bytes do not hash to ${cid}`)
    process.exit(1)
  }
  // Canonical: what is decoded is encoded to the same bytes.
  const value = dagCbor.decode(block.bytes)
  if (Buffer.compare(Buffer.from(dagCbor.encode(value)), Buffer.from(block.bytes)) !== 0) {
    console.error(`${cid} is not canonical`)
    process.exit(1)
  }
  return value
}

const statement = await take(signed)
let page = await take(root)
const { thread, count } = page
let index = 0
while (page.level > 0) {
  const inside = []
  for (const [number, link] of page.links.entries()) if (await car.has(link)) inside.push([number, link])
  if (inside.length !== 1) process.exit(1)
  index += inside[0][0] * 64 ** page.level
  page = await take(inside[0][1])
}
const place = page.links.findIndex((link) => link.equals(statement.envelope))
if (place < 0) process.exit(1)
const envelope = await take(statement.envelope)
console.log(JSON.stringify({
  root: root.toString(),
  thread,
  count,
  index: index + place,
  envelope: statement.envelope.toString(),
  kind: envelope.kind,
  sender: envelope.sender,
  refs: envelope.refs.map(String)
}))
