/**
 * MLX for Node: `node --expose-gc mlx.mjs`. Its arrays are freed by finalisers only, which need the garbage collector and turns of the
 * event loop: without both, a loop slows down to a tenth and fills the memory. Its threads are those of the system's BLAS.
 */
import mlx from '@frost-beta/mlx';
import { batchOf, serve, weights } from './serve.mjs';

const { core: mx, nn, optimizers } = mlx;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Collects every `each` runs, within the time that is measured. */
const collecting = (each) => {
  let runs = 0;
  return async () => {
    if (++runs % each !== 0) return;
    global.gc();
    await turn();
  };
};

class Net extends nn.Module {
  constructor(sizes) {
    super();
    this.layers = [];
    for (let i = 0; i + 1 < sizes.length; i++) this.layers.push(new nn.Linear(sizes[i], sizes[i + 1]));
  }

  forward(x) {
    let h = x;
    this.layers.forEach((layer, i) => {
      h = layer.forward(h);
      if (i + 1 < this.layers.length) h = nn.relu(h);
    });
    return h;
  }
}

function step({ sizes, batch, optimizer }) {
  const net = new Net(sizes);
  net.layers.forEach((layer, i) => {
    layer.weight = mx.reshape(mx.array(Array.from(weights(sizes[i + 1], sizes[i], i + 1))), [sizes[i + 1], sizes[i]]);
  });
  mx.eval(net.parameters());
  const data = batchOf(batch, sizes[0], sizes[sizes.length - 1]);
  const x = mx.reshape(mx.array(Array.from(data.x)), [batch, sizes[0]]);
  const y = mx.array(Array.from(data.y), mx.int32);
  const optim = optimizer === 'adam' ? new optimizers.Adam(0.001) : new optimizers.SGD(0.01, 0.9);
  const lossOf = nn.valueAndGrad(net, (model, input, labels) =>
    mx.mean(nn.losses.crossEntropy(model.forward(input), labels)),
  );
  const collect = collecting(batch < 64 ? 50 : 5);
  return {
    run: async () => {
      const [loss, grads] = lossOf(net, x, y);
      optim.update(net, grads);
      mx.eval(net.parameters(), optim.state, loss);
      await collect();
    },
  };
}

function adds(count) {
  const x = mx.array([1, 2, 3, 4]);
  mx.eval(x);
  const collect = collecting(1000);
  return {
    run: async () => {
      let y = mx.add(x, x);
      for (let i = 1; i < count; i++) y = mx.add(y, x);
      mx.eval(y);
      await collect();
    },
  };
}

await serve({ add: () => adds(1), graph: () => adds(10), step });
