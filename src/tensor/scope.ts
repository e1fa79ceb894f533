/**
 * Scopes: who frees what. Tensors made inside `tidy` are disposed of at its end, except what it returns and what was kept.
 * Outside any scope a tensor is freed by dispose(), by `using`, or, as a safety net, by the garbage collector.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Tensor } from './tensor.js';

interface Scope {
  tensors: Set<Tensor>;
}

let current: Scope | undefined;
let asyncScopes = 0;
const asyncCurrent = new AsyncLocalStorage<Scope>();

function activeScope(): Scope | undefined {
  return current ?? (asyncScopes > 0 ? asyncCurrent.getStore() : undefined);
}

/** Called by Tensor's constructor. True when a scope will dispose of the tensor. */
export function enterScope(tensor: Tensor): boolean {
  const scope = activeScope();
  scope?.tensors.add(tensor);
  return scope !== undefined;
}

/** Called by dispose(): the scope need not remember the tensor any longer. */
export function leaveScope(tensor: Tensor): void {
  activeScope()?.tensors.delete(tensor);
}

/** Every tensor in a value: tensors, arrays, plain objects and maps, to any depth. */
function collect(value: unknown, into: Set<Tensor>): void {
  if (value instanceof Tensor) into.add(value);
  else if (Array.isArray(value)) for (const item of value) collect(item, into);
  else if (value instanceof Map) for (const item of value.values()) collect(item, into);
  else if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) collect(item, into);
  }
}

function close(scope: Scope, outer: Scope | undefined, result: unknown): void {
  const kept = new Set<Tensor>();
  collect(result, kept);
  for (const tensor of scope.tensors) {
    if (!kept.has(tensor)) tensor.dispose();
    else if (outer) outer.tensors.add(tensor);
    else tensor.collectable();
  }
}

/**
 * Runs `fn` and disposes of every tensor made in it, except those it returns (in arrays, plain objects or maps, too) and those
 * given to {@link keep}. `fn` may be async: then a promise comes back and the tensors are disposed of when it settles.
 */
export function tidy<T>(fn: () => T): T {
  const outer = activeScope();
  const scope: Scope = { tensors: new Set() };
  const saved = current;
  let result: T;
  if (fn.constructor.name === 'AsyncFunction') {
    asyncScopes++;
    current = undefined;
    const finish = (value: unknown): void => {
      asyncScopes--;
      close(scope, outer, value);
    };
    try {
      const promise = asyncCurrent.run(scope, fn) as Promise<unknown>;
      return promise.then(
        (value) => {
          finish(value);
          return value;
        },
        (error: unknown) => {
          finish(undefined);
          throw error;
        },
      ) as T;
    } finally {
      current = saved;
    }
  }
  current = scope;
  try {
    result = fn();
  } catch (error) {
    current = saved;
    close(scope, outer, undefined);
    throw error;
  }
  current = saved;
  close(scope, outer, result);
  return result;
}

/** Takes a tensor out of the scopes around it; whoever calls this frees it. Returns the tensor. */
export function keep<T extends Tensor>(tensor: T): T {
  const scope = activeScope();
  if (scope?.tensors.delete(tensor)) tensor.collectable();
  return tensor;
}
