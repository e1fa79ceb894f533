/**
 * Lint rules: what the compiler can't see, and the order of the folders: a lower one never imports a higher one.
 */
import tseslint from 'typescript-eslint';

const root = new URL('..', import.meta.url).pathname;

/** Lowest first. */
const FOLDERS = [
  'device',
  'tensor',
  'ops',
  'autograd',
  'nn',
  'optim',
  'plasticity',
  'longtail',
  'data',
  'models',
  'io',
  'train',
  'cli',
];

const boundaries = FOLDERS.slice(0, -1).map((folder, i) => ({
  files: [`src/${folder}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            group: FOLDERS.slice(i + 1).map((higher) => `../${higher}/*`),
            message: `src/${folder} is below these folders.`,
          },
        ],
      },
    ],
  },
}));

export default tseslint.config(
  { ignores: ['node_modules/', 'build/', 'dist/', 'runs/', 'bench/peers/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { project: `${root}tsconfig.json`, tsconfigRootDir: root } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Hooks are passed on as they came.
      '@typescript-eslint/unbound-method': 'off',
      // Declaration merging is how Tensor gets its methods.
      '@typescript-eslint/no-unsafe-declaration-merging': 'off',
      '@typescript-eslint/no-empty-object-type': ['error', { allowInterfaces: 'with-single-extends' }],
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // Tests pass wrong values on purpose and look into parsed JSON.
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-explicit-any': 'off',
    },
  },
  ...boundaries,
);
