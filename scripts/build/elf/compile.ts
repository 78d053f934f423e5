/**
 * Compiles a WebAssembly module to x86-64: one pass, no registers allocated, as simple as it can be. It is there for small
 * programs that run in guests (image/guest-agent), which are written in TypeScript's syntax like everything else and need
 * neither a C compiler to build nor a library to run.
 *
 * A function's frame: parameters above the return address, pushed from first to last; rbp; locals below it; then the
 * operand stack. Linear memory lies at a fixed address, globals in the page before it. Integers only; what is not known here ends
 * the build. Nothing is checked at run time: an access outside ends the program with SIGSEGV.
 */
import { Cursor, type Signature, type WasmFunction, type WasmProgram } from './reader.ts';
import { FILL_BYTES, LOAD, MOVE_BYTES, PLAIN, STORE, SYSTEM_CALL } from './x86.ts';

const PAGE_BYTES = 65536;
export const GLOBALS_BYTES = 4096;
const VOID = 0x40;

export interface Layout {
  readonly textAddress: number;
  /** Where linear memory begins. */
  readonly memoryAddress: number;
}

export interface MachineCode {
  readonly text: Uint8Array;
  /** A page with the globals, and linear memory as far as it is not zero at the start. */
  readonly data: Uint8Array;
  /** As many bytes as it is in memory. */
  readonly dataBytes: number;
}

interface Block {
  readonly kind: 'block' | 'loop' | 'if';
  /** Operands below it. */
  readonly height: number;
  readonly nrResults: number;
  /** Where a loop begins. */
  readonly start: number;
  /** Jumps to its end, to be filled in. */
  readonly exits: number[];
  /** The jump to `else` or the end of an `if`. */
  toElse: number | undefined;
  /** Its beginning cannot be reached, so nothing in it is compiled. */
  readonly isDead: boolean;
}

class Compiler {
  readonly #code: number[] = [];
  readonly #program: WasmProgram;
  readonly #layout: Layout;
  readonly #starts: number[] = [];
  readonly #calls: { at: number; callee: number }[] = [];

  constructor(program: WasmProgram, layout: Layout) {
    this.#program = program;
    this.#layout = layout;
  }

  compile(): MachineCode {
    const { functions, exports, start, imports } = this.#program;
    const main = exports.get('main');
    if (main === undefined) throw new Error('the program exports no main');
    // The entry: rbp is 0 in the outermost frame; exit_group(main()).
    this.#emit('31 ed');
    if (start !== undefined) this.#call(start);
    this.#call(main);
    this.#emit('89 c7 b8 e7 00 00 00 0f 05');
    for (const each of functions) {
      this.#starts.push(this.#code.length);
      this.#function(each);
    }
    for (const { at, callee } of this.#calls) this.#patch(at, this.#starts[callee - imports.length]!);
    return { text: Uint8Array.from(this.#code), ...this.#data() };
  }

  #data(): { data: Uint8Array; dataBytes: number } {
    const { data: segments, globals, memoryPages } = this.#program;
    if (globals.length * 8 > GLOBALS_BYTES) throw new Error('there are too many globals');
    const used = Math.max(0, ...segments.map(({ offset, bytes }) => offset + bytes.length));
    const data = new Uint8Array(GLOBALS_BYTES + used);
    const view = new DataView(data.buffer);
    for (const [i, value] of globals.entries()) view.setBigInt64(8 * i, value, true);
    for (const { offset, bytes } of segments) data.set(bytes, GLOBALS_BYTES + offset);
    return { data, dataBytes: GLOBALS_BYTES + memoryPages * PAGE_BYTES };
  }

  #emit(hex: string, ...immediates: number[]): void {
    if (hex !== '') this.#code.push(...hex.split(' ').map(digits => Number.parseInt(digits, 16)));
    for (const value of immediates) {
      this.#code.push(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255);
    }
  }
  /** Fill in the 32-bit distance at `at` of a jump to `target`. */
  #patch(at: number, target: number): void {
    const distance = target - (at + 4);
    for (let i = 0; i < 4; i++) this.#code[at + i] = (distance >> (8 * i)) & 255;
  }
  /** A jump or call whose target is not known yet; returns where its distance stands. */
  #jump(hex: string): number {
    this.#emit(hex, 0);
    return this.#code.length - 4;
  }
  #call(callee: number): void {
    this.#calls.push({ at: this.#jump('e8'), callee });
  }

  #function(body: WasmFunction): void {
    this.#emit('55 48 89 e5');
    for (let i = 0; i < body.nrLocals; i++) this.#emit('6a 00');
    new Body(this, body).compile();
    if (body.nrResults > 0) this.#emit('58');
    this.#emit('c9 c3');
  }

  // For Body, which belongs to this class.
  get code() {
    return {
      emit: this.#emit.bind(this),
      jump: this.#jump.bind(this),
      patch: this.#patch.bind(this),
      call: this.#call.bind(this),
      here: () => this.#code.length,
      program: this.#program,
      layout: this.#layout,
    };
  }
}

/** The instructions of one function. */
class Body {
  readonly #c: Compiler['code'];
  readonly #function: WasmFunction;
  readonly #in: Cursor;
  readonly #blocks: Block[] = [];
  #height = 0;
  #isDead = false;

  constructor(compiler: Compiler, body: WasmFunction) {
    this.#c = compiler.code;
    this.#function = body;
    this.#in = new Cursor(body.body);
  }

  compile(): void {
    this.#open('block', this.#function.nrResults);
    while (this.#blocks.length > 0) this.#instruction(this.#in.byte());
  }

  #open(kind: Block['kind'], nrResults: number): void {
    const isDead = this.#isDead;
    this.#blocks.push({
      kind,
      nrResults,
      isDead,
      height: this.#height,
      start: this.#c.here(),
      exits: [],
      toElse: kind === 'if' && !isDead ? this.#c.jump('0f 84') : undefined,
    });
  }

  /** Void or one result; AssemblyScript makes no others. */
  #blockResults(): number {
    const type = this.#in.byte();
    if (type !== VOID && type < 0x7c) throw new Error('blocks with parameters are not supported');
    return type === VOID ? 0 : 1;
  }

  #else(): void {
    const block = this.#blocks.at(-1)!;
    if (block.isDead) return;
    if (!this.#isDead) block.exits.push(this.#c.jump('e9'));
    this.#c.patch(block.toElse!, this.#c.here());
    block.toElse = undefined;
    this.#height = block.height;
    this.#isDead = false;
  }

  #end(): void {
    const block = this.#blocks.pop()!;
    if (block.isDead) return;
    const isReached = !this.#isDead || block.exits.length > 0 || block.toElse !== undefined;
    for (const at of block.exits) this.#c.patch(at, this.#c.here());
    if (block.toElse !== undefined) this.#c.patch(block.toElse, this.#c.here());
    this.#height = block.height + block.nrResults;
    this.#isDead = !isReached;
  }

  #branch(depth: number): void {
    const block = this.#blocks[this.#blocks.length - 1 - depth]!;
    const nrValues = block.kind === 'loop' ? 0 : block.nrResults;
    if (this.#height !== block.height + nrValues) {
      if (nrValues > 0) this.#c.emit('58');
      this.#c.emit('48 8d a5', -8 * (this.#function.nrLocals + block.height));
      if (nrValues > 0) this.#c.emit('50');
    }
    const at = this.#c.jump('e9');
    if (block.kind === 'loop') this.#c.patch(at, block.start);
    else block.exits.push(at);
  }

  /** Address of a parameter or local, from rbp. */
  #local(index: number): number {
    const { nrParams } = this.#function;
    return index < nrParams ? 16 + 8 * (nrParams - 1 - index) : -8 * (index - nrParams + 1);
  }

  #instruction(opcode: number): void {
    const { emit } = this.#c;
    const live = !this.#isDead;
    switch (opcode) {
      case 0x00:
        if (live) emit('0f 0b');
        this.#isDead = true;
        return;
      case 0x01:
        return;
      case 0x02:
      case 0x03:
        this.#open(opcode === 0x02 ? 'block' : 'loop', this.#blockResults());
        return;
      case 0x04: {
        const nrResults = this.#blockResults();
        if (live) {
          emit('58 85 c0');
          this.#height -= 1;
        }
        this.#open('if', nrResults);
        return;
      }
      case 0x05:
        this.#else();
        return;
      case 0x0b:
        this.#end();
        return;
      case 0x0c: {
        const depth = this.#in.unsigned();
        if (live) this.#branch(depth);
        this.#isDead = true;
        return;
      }
      case 0x0d: {
        const depth = this.#in.unsigned();
        if (!live) return;
        emit('58 85 c0');
        this.#height -= 1;
        const over = this.#c.jump('0f 84');
        this.#branch(depth);
        this.#c.patch(over, this.#c.here());
        return;
      }
      case 0x0e: {
        const depths = this.#in.vector(() => this.#in.unsigned());
        const otherwise = this.#in.unsigned();
        if (live) this.#branchTable(depths, otherwise);
        this.#isDead = true;
        return;
      }
      case 0x0f:
        if (live) this.#branch(this.#blocks.length - 1);
        this.#isDead = true;
        return;
      case 0x10: {
        const callee = this.#in.unsigned();
        if (live) this.#callFunction(callee);
        return;
      }
    }
    this.#simple(opcode, live);
  }

  #branchTable(depths: readonly number[], otherwise: number): void {
    const { emit, jump, patch, here } = this.#c;
    emit('58');
    this.#height -= 1;
    for (const [i, depth] of depths.entries()) {
      emit('3d', i);
      const over = jump('0f 85');
      this.#branch(depth);
      patch(over, here());
    }
    this.#branch(otherwise);
  }

  #callFunction(callee: number): void {
    const { imports, functions } = this.#c.program;
    const imported = imports[callee];
    const { nrParams, nrResults }: Signature = imported?.signature ?? functions[callee - imports.length]!;
    if (imported) {
      if (imported.name !== 'linux.syscall') throw new Error(`there is no import ${imported.name}`);
      this.#c.emit(SYSTEM_CALL);
    } else {
      this.#c.call(callee);
      if (nrParams > 0) this.#c.emit('48 81 c4', 8 * nrParams);
      if (nrResults > 0) this.#c.emit('50');
    }
    this.#height += nrResults - nrParams;
  }

  /** Instructions that only compute: immediates are read in any case. */
  #simple(opcode: number, live: boolean): void {
    const emit: Compiler['code']['emit'] = live ? this.#c.emit : () => {};
    const grow = (slots: number) => {
      if (live) this.#height += slots;
    };
    const { layout } = this.#c;
    const globalAddress = (index: number) => layout.memoryAddress - GLOBALS_BYTES + 8 * index;
    const plain = PLAIN.get(opcode);
    if (plain !== undefined) {
      emit(plain);
      const isBinary = plain.startsWith('59');
      grow(opcode === 0x1b ? -2 : isBinary || opcode === 0x1a ? -1 : 0);
      return;
    }
    const load = LOAD.get(opcode);
    const store = STORE.get(opcode);
    if (load !== undefined || store !== undefined) {
      this.#in.unsigned();
      const address = layout.memoryAddress + this.#in.unsigned();
      if (load !== undefined) {
        emit(`58 89 c0 ${load}`, address);
        emit('50');
      } else {
        emit(`59 58 89 c0 ${store}`, address);
        grow(-2);
      }
      return;
    }
    switch (opcode) {
      case 0x20:
        emit('ff b5', this.#local(this.#in.unsigned()));
        grow(1);
        return;
      case 0x21:
        emit('8f 85', this.#local(this.#in.unsigned()));
        grow(-1);
        return;
      case 0x22:
        emit('48 8b 04 24 48 89 85', this.#local(this.#in.unsigned()));
        return;
      case 0x23:
        emit('ff 34 25', globalAddress(this.#in.unsigned()));
        grow(1);
        return;
      case 0x24:
        emit('8f 04 25', globalAddress(this.#in.unsigned()));
        grow(-1);
        return;
      case 0x41:
        emit('68', Number(BigInt.asIntN(32, this.#in.signed())));
        grow(1);
        return;
      case 0x42: {
        const value = this.#in.signed();
        const low = Number(BigInt.asIntN(32, value));
        emit('48 b8', low, Number(BigInt.asIntN(32, value >> 32n)));
        emit('50');
        grow(1);
        return;
      }
      case 0xfc:
        this.#bulk(this.#in.unsigned(), emit);
        grow(-3);
        return;
    }
    throw new Error(`the instruction ${opcode.toString(16)} is not supported`);
  }

  #bulk(opcode: number, emit: Compiler['code']['emit']): void {
    const { memoryAddress } = this.#c.layout;
    if (opcode === 10) {
      this.#in.take(2);
      emit('59 5e 5f 89 c9 89 f6 89 ff 48 81 c6', memoryAddress);
      emit('48 81 c7', memoryAddress);
      emit(MOVE_BYTES);
    } else if (opcode === 11) {
      this.#in.take(1);
      emit('59 58 5f 89 c9 89 ff 48 81 c7', memoryAddress);
      emit(FILL_BYTES);
    } else throw new Error(`the instruction fc ${opcode} is not supported`);
  }
}

export const compileWasm = (program: WasmProgram, layout: Layout): MachineCode =>
  new Compiler(program, layout).compile();
