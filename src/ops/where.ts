/**
 * Choosing between two tensors by a third.
 */
import { ConfigError, DTypeError } from '../device/index.js';
import { broadcastShapes, expectDType, Tensor } from '../tensor/index.js';
import { type Operand, scalarLike } from './binary.js';
import { sumTo } from './broadcast.js';
import { constant } from './create.js';
import { defineOp, enqueueOne, expectTensor } from './define.js';
import { stretched } from './movement.js';

const whereOp = defineOp<undefined>({
  name: 'where',
  forward: ([condition, a, b]) => {
    expectDType('where', condition.dtype, ['bool']);
    if (a.dtype !== b.dtype) throw new DTypeError(`where: expected one dtype, got ${a.dtype} and ${b.dtype}`);
    const shape = broadcastShapes('where', broadcastShapes('where', condition.shape, a.shape), b.shape);
    const inputs = [condition, a, b].map((x) => stretched(x, shape));
    const out = enqueueOne(
      'where',
      a.device,
      shape,
      a.dtype,
      inputs.map((x) => x.view('where')),
      [],
    );
    inputs.forEach((x, i) => {
      if (x !== [condition, a, b][i]) x.dispose();
    });
    return [out];
  },
  backward: ({ inputs: [condition], shapes, needs }, [g]) => {
    if (!g) return [];
    const zero = constant(0, [], g);
    return [
      undefined,
      needs[1] ? sumTo(where(condition, g, zero), shapes[1]) : undefined,
      needs[2] ? sumTo(where(condition, zero, g), shapes[2]) : undefined,
    ];
  },
  saves: { inputs: [0] },
  flops: () => 0,
});

/** a where the condition (bool) holds, else b. All broadcast; one of a and b may be a number. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  expectTensor('where', condition);
  if (!(a instanceof Tensor) && !(b instanceof Tensor)) {
    throw new ConfigError(`where: expected at least one tensor to choose from, got ${typeof a} and ${typeof b}`);
  }
  const x = a instanceof Tensor ? a : scalarLike('where', a, b as Tensor);
  const y = b instanceof Tensor ? b : scalarLike('where', b, x);
  return whereOp([condition, x, y], undefined)[0];
}
