// Where the tasks of a plan are drawn: in layers, each task right of all it comes after, with few crossings.
// Plain numbers in and out, so that it can be tested without a page.

const SWEEPS = 6;

/**
 * tasks: [{id, parents: [id]}], in an order that respects the parents (others are taken as they come).
 * Returns {nodes: Map id -> {layer, slot, x, y}, edges: [{from, to, points}], width, height} for boxes of `box`
 * {width, height} with gaps `gap` {layer, slot}; `down`: layers go down instead of right.
 */
export function layout(tasks, box, gap, down = false) {
  const known = new Map(tasks.map((task) => [task.id, task]));
  const parents = new Map(tasks.map((task) => [task.id, task.parents.filter((id) => known.has(id) && id !== task.id)]));
  const layers = layersOf(tasks, parents);
  const rows = withCorners(tasks, parents, layers);
  order(rows);
  return place(rows, box, gap, down);
}

/** id -> layer: the longest way from a task without parents. A cycle, which no honest plan has, is cut. */
function layersOf(tasks, parents) {
  const layers = new Map();
  const open = new Set();
  const depth = (first) => {
    const stack = [first];
    while (stack.length) {
      const id = stack[stack.length - 1];
      open.add(id);
      const waiting = parents.get(id).find((parent) => !layers.has(parent) && !open.has(parent));
      if (waiting !== undefined) {
        stack.push(waiting);
        continue;
      }
      layers.set(id, Math.max(0, ...parents.get(id).map((parent) => (layers.get(parent) ?? -1) + 1)));
      open.delete(id);
      stack.pop();
    }
  };
  for (const task of tasks) if (!layers.has(task.id)) depth(task.id);
  return layers;
}

/** Rows of cells; an edge over several layers gets a corner in each of those between. */
function withCorners(tasks, parents, layers) {
  const rows = [];
  const cell = (id, layer, task) => {
    const made = { id, layer, task, up: [], down: [], slot: 0 };
    (rows[layer] ||= []).push(made);
    return made;
  };
  const cells = new Map(tasks.map((task) => [task.id, cell(task.id, layers.get(task.id), task)]));
  const edges = [];
  for (const task of tasks) {
    for (const parent of parents.get(task.id)) {
      const from = cells.get(parent);
      const to = cells.get(task.id);
      const chain = [from];
      for (let layer = from.layer + 1; layer < to.layer; layer += 1) chain.push(cell(`${parent}→${task.id}@${layer}`, layer, null));
      chain.push(to);
      for (let at = 1; at < chain.length; at += 1) {
        chain[at - 1].down.push(chain[at]);
        chain[at].up.push(chain[at - 1]);
      }
      edges.push({ from: parent, to: task.id, chain });
    }
  }
  return { rows: rows.map((row) => row || []), edges, cells };
}

/** Barycentres, down and up by turns. */
function order({ rows }) {
  const number = (row) => row.forEach((each, at) => { each.slot = at; });
  rows.forEach(number);
  const sort = (row, side) => {
    const weight = new Map(row.map((each) => [each, each[side].length ? each[side].reduce((sum, other) => sum + other.slot, 0) / each[side].length : each.slot]));
    row.sort((a, b) => weight.get(a) - weight.get(b) || a.slot - b.slot);
    number(row);
  };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    if (sweep % 2 === 0) for (const row of rows.slice(1)) sort(row, "up");
    else for (const row of rows.slice(0, -1).reverse()) sort(row, "down");
  }
}

function place({ rows, edges, cells }, box, gap, down) {
  const along = down ? box.height + gap.layer : box.width + gap.layer;
  const across = down ? box.width + gap.slot : box.height + gap.slot;
  const thin = across * 0.5; // a row's corners need less room than its boxes
  const lengths = rows.map((row) => row.reduce((sum, each) => sum + (each.task ? across : thin), 0));
  const longest = Math.max(across, ...lengths);
  rows.forEach((row, layer) => {
    let at = (longest - lengths[layer]) / 2;
    for (const each of row) {
      const size = each.task ? across : thin;
      const middle = at + size / 2 - gap.slot / 2;
      const start = layer * along;
      each.x = down ? middle - box.width / 2 : start;
      each.y = down ? start : middle - box.height / 2;
      each.middle = middle;
      at += size;
    }
  });
  const nodes = new Map([...cells].map(([id, each]) => [id, { layer: each.layer, slot: each.slot, x: each.x, y: each.y }]));
  return {
    nodes,
    edges: edges.map(({ from, to, chain }) => ({ from, to, points: pointsOf(chain, along, box, down) })),
    width: down ? longest - gap.slot : Math.max(1, rows.length) * along - gap.layer,
    height: down ? Math.max(1, rows.length) * along - gap.layer : longest - gap.slot,
  };
}

function pointsOf(chain, along, box, down) {
  const points = [];
  const put = (start, middle) => points.push(down ? [middle, start] : [start, middle]);
  const size = down ? box.height : box.width;
  chain.forEach((each, at) => {
    const start = each.layer * along;
    if (at > 0) put(start, each.middle);
    if (at < chain.length - 1) put(start + size, each.middle);
  });
  return points;
}

/** A smooth path through the points, leaving and reaching boxes straight. */
export function curve(points, down) {
  let path = `M${points[0][0]},${points[0][1]}`;
  for (let at = 1; at < points.length; at += 1) {
    const [ax, ay] = points[at - 1];
    const [bx, by] = points[at];
    if (at % 2 === 0) path += `L${bx},${by}`;
    else if (down) path += `C${ax},${(ay + by) / 2} ${bx},${(ay + by) / 2} ${bx},${by}`;
    else path += `C${(ax + bx) / 2},${ay} ${(ax + bx) / 2},${by} ${bx},${by}`;
  }
  return path;
}
