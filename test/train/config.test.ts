import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { lossNames } from '../../src/longtail/index.js';
import {
  configFields,
  parseConfig,
  preset,
  presets,
  type RunConfigInput,
  runConfigSchema,
} from '../../src/train/index.js';

describe('parseConfig', () => {
  it('fills in the defaults', () => {
    const config = parseConfig({});
    expect(config).toMatchObject({
      dataset: { name: 'auto', imbalanceFactor: 100, subsetSeed: 0 },
      optimizer: { name: 'sgd', lr: 0.05, momentum: 0.9, weightDecay: 5e-4 },
      epochs: 40,
      batchSize: 128,
      plasticity: null,
      checkpoint: null,
    });
    expect(parseConfig({ plasticity: {} }).plasticity).toMatchObject({
      rate: 0.5,
      period: 4,
      score: 'class-taylor',
      widths: 'all',
    });
    expect(parseConfig(parseConfig({}))).toEqual(config);
  });

  it.each([
    [{ epoch: 3 }, "unknown key 'epoch'; did you mean 'epochs'?"],
    [{ optimizer: { learningrate: 3 } }, "unknown key 'optimizer.learningrate'"],
    [{ optimizer: { momentun: 0.9 } }, "unknown key 'optimizer.momentun'; did you mean 'optimizer.momentum'?"],
    [{ lr: 0.1 }, "unknown key 'lr'; did you mean 'optimizer.lr'?"],
    [{ plasticity: { grownEpoch: 1 } }, "unknown key 'plasticity.grownEpoch'; did you mean 'plasticity.grownEpochs'?"],
    [{ quux: 1 }, "unknown key 'quux'; known here: dataset, model,"],
  ])('refuses the unknown key in %j and names the nearest', (input, message) => {
    expect(() => parseConfig(input)).toThrow(ConfigError);
    expect(() => parseConfig(input)).toThrow(message);
  });

  it.each([
    [{ optimizer: { lr: NaN } }, /'optimizer.lr': .*got NaN/],
    [{ optimizer: { lr: -1 } }, /'optimizer.lr': .*got -1/],
    [{ optimizer: { lr: '0.1' } }, /'optimizer.lr': .*got "0.1"/],
    [{ epochs: 0 }, /'epochs': .*got 0/],
    [{ augment: { flip: 1.5 } }, /'augment.flip': .*got 1.5/],
    [{ epochs: 2.5 }, /'epochs': .*got 2.5/],
    [{ batchSize: Infinity }, /'batchSize': .*got Infinity/],
    [{ model: { hidden: [] } }, /'model.hidden'/],
    [{ model: { hidden: [3, -2] } }, /'model.hidden.1': .*got -2/],
    [{ plasticity: { rate: -0.5 } }, /'plasticity.rate': .*got -0.5/],
    [{ plasticity: { grownEpochs: 9 } }, /'plasticity.grownEpochs': expected at most the period \(4\), got 9/],
    [{ epochs: 2, plasticity: {} }, /'plasticity': expected room for one cycle in 2 epochs/],
    [{ dataset: { imbalanceFactor: 0.1 } }, /'dataset.imbalanceFactor': .*got 0.1/],
    [{ loss: { name: 'hinge' } }, /'loss.name': .*got "hinge"/],
    [{ schedule: { warmupEpochs: 40 } }, /'schedule.warmupEpochs': expected fewer than the epochs \(40\), got 40/],
    ['text', /the configuration: .*got "text"/],
    [null, /the configuration: .*got null/],
  ])('refuses %j', (input, message) => {
    expect(() => parseConfig(input)).toThrow(ConfigError);
    expect(() => parseConfig(input)).toThrow(message);
  });

  it('lists every problem and says where it stands', () => {
    expect(() => parseConfig({ epochs: -1, batchSize: 'x', sede: 1 }, 'run.yaml')).toThrow(
      /^run\.yaml: [\s\S]*epochs[\s\S]*batchSize[\s\S]*did you mean 'seed'/,
    );
  });
});

describe('the fields of a loss', () => {
  const all = {
    labelSmoothing: 0.1,
    drw: { from: 0.7 },
    alpha: 2,
    beta: 0.9,
    from: 0.4,
    gamma: 1,
    lambda: 0.2,
    maxMargin: 0.4,
    mode: 'train',
    scale: 20,
    tau: 2,
  } as const;
  const shared = ['labelSmoothing', 'drw'] as const;
  const having: [NonNullable<NonNullable<RunConfigInput['loss']>['name']>, (keyof typeof all)[]][] = [
    ['ce', [...shared]],
    ['focal', ['gamma', ...shared]],
    ['class-balanced', ['beta', ...shared]],
    ['ldam', ['maxMargin', 'scale', ...shared]],
    ['logit-adjustment', ['tau', 'mode', ...shared]],
    ['balanced-softmax', [...shared]],
    ['vs', ['gamma', 'tau', ...shared]],
    ['influence-balanced', ['alpha', 'from', 'labelSmoothing']],
    ['lade', ['alpha', 'lambda', ...shared]],
  ];

  it.each(having)('of %s are its own, and those of others are refused', (name, fields) => {
    const own = { name, ...Object.fromEntries(fields.map((field) => [field, all[field]])) };
    expect(parseConfig({ loss: own }).loss).toEqual(own);
    // A field that is not given has no key: hashes of configurations depend on it.
    expect(parseConfig({ loss: { name } }).loss).toStrictEqual({ name });
    const others = Object.entries(all).filter(([field]) => !(fields as string[]).includes(field));
    for (const [field, value] of others) {
      const parse = (): unknown => parseConfig({ loss: { ...own, [field]: value } });
      expect(parse).toThrow(ConfigError);
      expect(parse).toThrow(`'loss.${field}' is no field of loss ${name}, which has: name, ${fields.join(', ')}`);
    }
    expect(having.map(([known]) => known)).toEqual(lossNames);
  });

  it("are cross-entropy's without a name", () => {
    expect(parseConfig({ loss: {} }).loss).toStrictEqual({ name: 'ce' });
    expect(() => parseConfig({ loss: { tau: 2 } })).toThrow(
      "'loss.tau' is no field of loss ce, which has: name, label",
    );
  });

  it('are listed once, with what they mean for each loss', () => {
    const fields = configFields().filter(({ key }) => key.startsWith('loss.'));
    const descriptions = Object.fromEntries(fields.map(({ key, description }) => [key, description]));
    expect(Object.keys(descriptions)).toHaveLength(fields.length);
    expect(descriptions).toMatchObject({
      'loss.labelSmoothing': 'Share of a label that all classes get alike, default 0',
      'loss.gamma': 'focal: Exponent, default 2; vs: Exponent of the ratio of counts, default 0.15',
      'loss.beta': 'class-balanced: Of the effective number of samples, default 0.9999',
      'loss.drw.from': 'all but influence-balanced: Share of the epochs before the weights apply, default 0.8',
    });
    expect(fields[0]).toMatchObject({ key: 'loss.name', default: 'ce' });
    expect(fields[0].type).toBe(lossNames.map((name) => `'${name}'`).join(' | '));
  });

  it.each([
    [{ name: 'focal', gama: 1 }, "unknown key 'loss.gama'; did you mean 'loss.gamma'?"],
    [{ drw: { form: 0.5 } }, "unknown key 'loss.drw.form'; did you mean 'loss.drw.from'?"],
    [{ name: 'vs', tau: -1 }, "'loss.tau': expected number to be >=0, got -1"],
    [{ name: 'hinge' }, `'loss.name': expected one of ${lossNames.join(', ')}, got "hinge"`],
  ])('%j is refused', (loss, message) => {
    expect(() => parseConfig({ loss })).toThrow(message);
  });
});

describe('documentation', () => {
  it('describes every field', () => {
    const fields = configFields();
    expect(fields.length).toBeGreaterThan(50);
    for (const field of fields) expect(field.description, field.key).not.toBe('');
    expect(fields.find((f) => f.key === 'optimizer.name')).toMatchObject({
      type: "'sgd' | 'adam' | 'adamw'",
      default: 'sgd',
    });
    expect(fields.find((f) => f.key === 'plasticity.rate')).toMatchObject({ type: 'number', default: 0.5 });
    expect(fields.find((f) => f.key === 'model.hidden')).toMatchObject({ type: 'number[]', default: [64] });
    expect(Object.keys(runConfigSchema.shape)).toContain('plasticity');
  });

  it('has valid presets', () => {
    for (const { runs, seeds } of Object.values(presets)) {
      expect(seeds.length).toBeGreaterThan(0);
      for (const { config } of runs) expect(() => parseConfig(config)).not.toThrow();
    }
    expect(preset('demo').runs.map((run) => run.name)).toEqual(['fixed', 'plastic']);
    expect(() => preset('toString')).toThrow(/expected one of demo, /);
  });
});
