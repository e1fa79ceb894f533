/**
 * Scopes: who frees what. Tensors made inside `tidy` are disposed of at its end, except what it returns and what was kept.
 * Outside any scope a tensor is freed by dispose(), by `using`, or, as a safety net, by the garbage collector.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ConfigError } from '../device/index.js';
import { Tensor } from './tensor.js';

export interface Scope {
  /** Made in the scope; those whose `scope` is another by now are no longer its own. */
  tensors: Tensor[];
  /** How many are. */
  own: number;
  outer: Scope | undefined;
  closed: boolean;
}

let current: Scope | undefined;
let asyncScopes = 0;
const asyncCurrent = new AsyncLocalStorage<Scope>();

function activeScope(): Scope | undefined {
  let scope = current ?? (asyncScopes > 0 ? asyncCurrent.getStore() : undefined);
  // Work that an async function started but didn't await may outlive its scope.
  while (scope?.closed) scope = scope.outer;
  return scope;
}

/** Called by Tensor's constructor. True when a scope will dispose of the tensor. */
export function enterScope(tensor: Tensor): boolean {
  const scope = activeScope();
  if (scope === undefined) return false;
  adopt(scope, tensor);
  return true;
}

function adopt(scope: Scope, tensor: Tensor): void {
  const { tensors } = scope;
  // A long-lived scope must not remember all that was made and disposed of in it.
  if (tensors.length > 64 && tensors.length > 2 * scope.own) {
    let n = 0;
    for (const known of tensors) if (known.scope === scope) tensors[n++] = known;
    tensors.length = n;
  }
  tensors.push(tensor);
  tensor.scope = scope;
  scope.own++;
}

/** Called by dispose(): the scope need not remember the tensor any longer. */
export function leaveScope(tensor: Tensor): void {
  if (tensor.scope === undefined) return;
  tensor.scope.own--;
  tensor.scope = undefined;
}

/** Whether the innermost scope will dispose of the tensor. */
export function inScope(tensor: Tensor): boolean {
  return tensor.scope !== undefined && tensor.scope === activeScope();
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

function close(scope: Scope, result: unknown): void {
  const kept = new Set<Tensor>();
  collect(result, kept);
  scope.closed = true;
  let outer = scope.outer;
  // An async scope may end after the one around it.
  while (outer?.closed) outer = outer.outer;
  for (const tensor of scope.tensors) {
    if (tensor.scope !== scope) continue;
    tensor.scope = undefined;
    if (!kept.has(tensor)) tensor.dispose();
    else if (outer) adopt(outer, tensor);
    else tensor.collectable();
  }
  scope.tensors.length = 0;
}

/**
 * Runs `fn` and disposes of every tensor made in it, except those it returns (in arrays, plain objects or maps, too) and those
 * given to {@link keep}. An async function may be given: then a promise comes back and the tensors are disposed of when it settles.
 * @throws ConfigError when a function that isn't declared async returns a promise: its tensors could not be told from others'
 */
export function tidy<T>(fn: () => T): T {
  const scope: Scope = { tensors: [], own: 0, outer: activeScope(), closed: false };
  const saved = current;
  if (fn.constructor.name === 'AsyncFunction') {
    asyncScopes++;
    current = undefined;
    const finish = (value: unknown): void => {
      asyncScopes--;
      close(scope, value);
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
  let result: T | undefined;
  try {
    result = fn();
    if (result instanceof Promise) {
      result.catch(() => undefined);
      result = undefined;
      throw new ConfigError('tidy: expected a function declared async, got a plain one that returns a promise');
    }
    return result;
  } finally {
    current = saved;
    close(scope, result);
  }
}

/** Takes a tensor out of the scopes around it; whoever calls this frees it. Returns the tensor. */
export function keep<T extends Tensor>(tensor: T): T {
  if (tensor.scope === undefined) return tensor;
  for (let scope = activeScope(); scope; scope = scope.outer) {
    if (tensor.scope === scope) {
      leaveScope(tensor);
      tensor.collectable();
      break;
    }
  }
  return tensor;
}
