/**
 * jax-js on its WebAssembly backend, one thread: Node has no global Worker. A function consumes its arguments unless `.ref` is given.
 */
import { blockUntilReady, init, jit, nn, numpy as np, tree, valueAndGrad } from '@jax-js/jax';
import { batchOf, serve, weights } from './serve.mjs';

// init() asks the browser's navigator, which Node before 21 doesn't have.
globalThis.navigator ??= {};
await init().catch(() => undefined);

function step({ sizes, batch, optimizer }) {
  const last = sizes.length - 2;
  let params = [];
  for (let i = 0; i <= last; i++) {
    params.push(np.array(weights(sizes[i], sizes[i + 1], i + 1)).reshape([sizes[i], sizes[i + 1]]));
    params.push(np.zeros([sizes[i + 1]]));
  }
  const zerosLike = (list) => list.map((p) => np.zeros(p.shape));
  let first = zerosLike(params);
  let second = optimizer === 'adam' ? zerosLike(params) : [];
  let count = np.array(0);
  const data = batchOf(batch, sizes[0], sizes[last + 1]);
  const x = np.array(data.x).reshape([batch, sizes[0]]);
  const y = nn.oneHot(np.array(data.y, { dtype: np.int32 }), sizes[last + 1]);

  const lossOf = (list, input, target) => {
    let h = input;
    for (let i = 0; i <= last; i++) {
      h = np.matmul(h, list[2 * i]).add(list[2 * i + 1]);
      if (i < last) h = nn.relu(h);
    }
    return np.mean(np.sum(nn.logSoftmax(h).mul(target), 1)).mul(-1);
  };
  const sgd = (list, v, s, t, input, target) => {
    const [loss, grads] = valueAndGrad(lossOf)(tree.ref(list), input, target);
    const moved = grads.map((g, i) => v[i].mul(0.9).add(g));
    return [list.map((p, i) => p.sub(moved[i].ref.mul(0.01))), moved, s, t, loss];
  };
  const adam = (list, m, s, t, input, target) => {
    const [loss, grads] = valueAndGrad(lossOf)(tree.ref(list), input, target);
    const now = t.add(1);
    const m2 = grads.map((g, i) => m[i].mul(0.9).add(g.ref.mul(0.1)));
    const s2 = grads.map((g, i) => s[i].mul(0.999).add(np.square(g).mul(0.001)));
    const unbias = (b) =>
      np.reciprocal(
        np
          .exp(now.ref.mul(Math.log(b)))
          .mul(-1)
          .add(1),
      );
    const mScale = unbias(0.9);
    const sScale = unbias(0.999);
    const next = list.map((p, i) =>
      p.sub(
        m2[i].ref
          .mul(mScale.ref)
          .mul(0.001)
          .div(np.sqrt(s2[i].ref.mul(sScale.ref)).add(1e-8)),
      ),
    );
    mScale.dispose();
    sScale.dispose();
    return [next, m2, s2, now, loss];
  };
  const compiled = jit(optimizer === 'adam' ? adam : sgd);
  return {
    run: () => {
      let loss;
      [params, first, second, count, loss] = compiled(params, first, second, count, x.ref, y.ref);
      loss.dispose();
    },
    settle: () => blockUntilReady(params),
    batch: 64,
  };
}

function adds(count) {
  const x = np.array([1, 2, 3, 4]);
  const sum = (a) => {
    let y = a.ref.add(a.ref);
    for (let i = 1; i < count; i++) y = y.add(a.ref);
    a.dispose();
    return y;
  };
  const run = count > 1 ? jit(sum) : sum;
  return {
    run: async () => {
      const y = run(x.ref);
      await blockUntilReady(y);
      y.dispose();
    },
  };
}

await serve({ add: () => adds(1), graph: () => adds(10), step });
