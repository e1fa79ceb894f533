/**
 * The device that is measured: the CPU, or a GPU named by `--device cuda:0` (or GYRUS_DEVICE).
 */
export const DEVICE = process.env.GYRUS_DEVICE || 'cpu';
export const onGpu = DEVICE.startsWith('cuda');
