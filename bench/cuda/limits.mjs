/** Limits per multiprocessor by compute capability, from the CUDA programming guide: warps, blocks, KiB of shared memory. */
export const LIMITS = {
  75: { warps: 32, blocks: 16, shared: 64 },
  80: { warps: 64, blocks: 32, shared: 164 },
  89: { warps: 48, blocks: 24, shared: 100 },
  90: { warps: 64, blocks: 32, shared: 228 },
  100: { warps: 64, blocks: 32, shared: 228 },
  120: { warps: 48, blocks: 24, shared: 100 },
};
