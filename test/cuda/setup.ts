/** Ends a test at the first call of an op that the device doesn't have yet, see missing.ts. */
import { beforeEach, type TestContext } from 'vitest';
import { AddonDevice } from '../../src/device/index.js';
import { MISSING } from './missing.js';

let running: TestContext | undefined;
beforeEach((context) => {
  running = context;
});

const { enqueue } = AddonDevice.prototype;
AddonDevice.prototype.enqueue = function (op, outputs, inputs, record) {
  if (this.name === 'cuda-emulated' && MISSING.includes(op)) running?.skip(`${op} is not on this device yet`);
  enqueue.call(this, op, outputs, inputs, record);
};
