/** Do other threads see what this one stores in the order in which it stores it? So it is on x86 (SDM vol. 3, 9.2.2), also where that is emulated. */
export const keepsStoreOrder = process.arch === 'x64' || process.arch === 'ia32';
