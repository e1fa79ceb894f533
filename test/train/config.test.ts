import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/device/index.js';
import { configFields, parseConfig, preset, presets, runConfigSchema } from '../../src/train/index.js';

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
