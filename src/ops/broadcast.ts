/**
 * The gradient of broadcasting: a gradient of the stretched shape summed back to the shape that was stretched.
 */
import { sameShape, type Shape, type Tensor } from '../tensor/index.js';
import { reshape } from './movement.js';
import { sum } from './reduce.js';

/** g summed over the axes along which `shape` was stretched. g itself when none was. */
export function sumTo(g: Tensor, shape: Shape): Tensor {
  if (sameShape(g.shape, shape)) return g;
  const lead = g.rank - shape.length;
  const axes: number[] = [];
  for (let i = 0; i < g.rank; i++) {
    if (i < lead || (shape[i - lead] === 1 && g.shape[i] !== 1)) axes.push(i);
  }
  const summed = axes.length === 0 ? g : sum(g, axes, { keepDims: true });
  return lead === 0 ? summed : reshape(summed, shape);
}
