/**
 * What V8 is told of WebAssembly (src/platform/node/wasm-compiler.ts). The command says it before the program is loaded: V8 takes code
 * that it has made earlier only under the flags under which it was made.
 */

/** For whoever runs modules of ours. */
const FLAGS = [
  // Modules are compiled when they are made, by the thread that makes them and V8's own. Otherwise each function is compiled when it
  // is called first, by the thread that calls it.
  '--no-wasm-lazy-compilation',
  // Which way branches usually go is written in our modules.
  '--experimental-wasm-branch-hinting',
  // What V8's second compiler makes is kept, so it pays sooner (docs/design/0020).
  '--wasm-tiering-budget=4000000',
  // Functions for V8's own tests, which give out and take machine code.
  '--allow-natives-syntax',
];
/**
 * Functions and loops begin with a look at whether the stack overflows, or somebody wants the thread. Our modules cannot overflow it, for
 * no function of theirs calls itself, even by way of others (recursion.test.ts), and a thread leaves them after a slice. Without those
 * looks the interpreter is an eighth faster.
 */
const STACK_CHECKS = 'wasm-stack-checks';

module.exports = { FLAGS, STACK_CHECKS };
