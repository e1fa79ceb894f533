/**
 * onnxruntime-node as an engine for single operators. The model of one node is written here byte by byte: a protocol buffer is a
 * sequence of fields, each a key (number * 8 + kind) and a varint or a length with as many bytes.
 */
import { createRequire } from 'node:module';
import { peersAbsent } from './peers.mjs';

const varint = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))]);
const whole = (field, value) => [...varint(field * 8), ...varint(value)];
const message = (field, ...parts) => {
  const body = parts.flat();
  return [...varint(field * 8 + 2), ...varint(body.length), ...body];
};
const text = (field, value) => message(field, [...Buffer.from(value)]);

/** The fields' numbers are those of onnx.proto: ModelProto, GraphProto, NodeProto, AttributeProto, ValueInfoProto. */
function modelOf({ op, attributes = {}, inputs, output }) {
  const FLOAT = 1;
  const INT = 2;
  const value = (field, name, shape) => {
    const dims = shape.map((extent) => message(1, whole(1, extent)));
    return message(field, text(1, name), message(2, message(1, whole(1, FLOAT), message(2, ...dims))));
  };
  const node = message(
    1,
    ...Object.keys(inputs).map((name) => text(1, name)),
    text(2, 'y'),
    text(4, op),
    ...Object.entries(attributes).map(([name, i]) => message(5, text(1, name), whole(3, i), whole(20, INT))),
  );
  const graph = message(
    7,
    node,
    text(2, 'bench'),
    ...Object.entries(inputs).map(([name, shape]) => value(11, name, shape)),
    value(12, 'y', output),
  );
  return Uint8Array.from([whole(1, 8), graph, message(8, text(1, ''), whole(2, 13))].flat());
}

let loaded;

/** The package of bench/peers/, or why it is absent. */
function runtime() {
  if (!loaded) {
    const absent = peersAbsent();
    if (absent) return (loaded = { absent });
    try {
      loaded = createRequire(new URL('peers/package.json', import.meta.url))('onnxruntime-node');
    } catch (error) {
      loaded = { absent: error.message };
    }
  }
  return loaded;
}

async function callsPerSecond(session, feeds, fetches, seconds) {
  await session.run(feeds, fetches);
  let calls = 0;
  const began = performance.now();
  let spent = 0;
  while (spent < seconds * 1000) {
    await session.run(feeds, fetches);
    calls++;
    spent = performance.now() - began;
  }
  return (calls / spent) * 1000;
}

/**
 * Calls per second of a matrix product; both operands come with each call, as in training, so that none can be packed ahead. The
 * session, whose threads spin while it has work, lives only as long as it is measured.
 */
export async function onnxEngine({ m, n, k, ta, tb }, threads, seconds) {
  const ort = runtime();
  if (ort.absent) return { absent: ort.absent };
  const inputs = { a: ta ? [k, m] : [m, k], b: tb ? [n, k] : [k, n] };
  const op = ta || tb ? { op: 'Gemm', attributes: { transA: Number(ta), transB: Number(tb) } } : { op: 'MatMul' };
  const model = modelOf({ ...op, inputs, output: [m, n] });
  return async () => {
    const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential' };
    const session = await ort.InferenceSession.create(model, options);
    const fill = (shape) =>
      new ort.Tensor('float32', Float32Array.from({ length: shape[0] * shape[1] }, Math.random), shape);
    const feeds = { a: fill(inputs.a), b: fill(inputs.b) };
    const fetches = { y: new ort.Tensor('float32', new Float32Array(m * n), [m, n]) };
    try {
      return await callsPerSecond(session, feeds, fetches, seconds);
    } finally {
      await session.release();
    }
  };
}
