/*
 * What the host processor makes of SSE instructions. Reads requests from standard input, writes results:
 *   request: char op[16]; u32 imm, count, controls; u32 mxcsr[controls]; then count times 3 operands of 16 bytes
 *   result:  for every control, for every operand triple: 16 bytes result, u64 general register or EFLAGS,
 *            u32 MXCSR exception flags, u32 1 when the instruction faulted (the result is then not written)
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef struct { uint8_t b[16]; } v16;
typedef struct { v16 r; uint64_t g; uint32_t flags, fault; } result;

static v16 A, B, C, R;
static uint64_t G;
static uint32_t csr, after;
static sigjmp_buf jump;

static void on_fpe(int sig, siginfo_t *info, void *context) {
  after = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  (void)sig; (void)info;
  siglongjmp(jump, 1);
}

#define BODY(text) \
  __asm__ volatile("ldmxcsr %[csr]\n movups %[a], %%xmm1\n movups %[b], %%xmm2\n movups %[c], %%xmm3\n pcmpeqb %%xmm0, %%xmm0\n" \
    "mov %[g], %%rax\n" text "\n stmxcsr %[after]\n movups %%xmm0, %[r]\n" \
    : [after] "=m"(after), [r] "=m"(R) \
    : [csr] "m"(csr), [a] "m"(A), [b] "m"(B), [c] "m"(C), [g] "m"(G) : "xmm0", "xmm1", "xmm2", "xmm3", "rax", "memory")
#define BODYG(text) \
  __asm__ volatile("ldmxcsr %[csr]\n movups %[a], %%xmm1\n movups %[b], %%xmm2\n xor %%eax, %%eax\n" \
    text "\n mov %%rax, %[g]\n stmxcsr %[after]\n" \
    : [after] "=m"(after), [g] "=m"(G) \
    : [csr] "m"(csr), [a] "m"(A), [b] "m"(B) : "xmm0", "xmm1", "xmm2", "xmm3", "rax", "rdx", "cc", "memory")

#define OP2(name) if (!strcmp(op, #name)) { BODY("movaps %%xmm1, %%xmm0\n" #name " %%xmm2, %%xmm0"); return 1; }
#define OP1(name) if (!strcmp(op, #name)) { BODY(#name " %%xmm1, %%xmm0"); return 1; }
#define OPF(name) if (!strcmp(op, #name)) { BODY("movaps %%xmm1, %%xmm0\n" #name " %%xmm3, %%xmm2, %%xmm0"); return 1; }
/* a = xmm1, b = xmm2, c = xmm3 for the three operand orders of one fused operation */
#define OPFMA(kind, type) \
  if (!strcmp(op, #kind "132" #type)) { BODY("movaps %%xmm1, %%xmm0\n v" #kind "132" #type " %%xmm2, %%xmm3, %%xmm0"); return 1; } \
  if (!strcmp(op, #kind "213" #type)) { BODY("movaps %%xmm2, %%xmm0\n v" #kind "213" #type " %%xmm3, %%xmm1, %%xmm0"); return 1; } \
  if (!strcmp(op, #kind "231" #type)) { BODY("movaps %%xmm3, %%xmm0\n v" #kind "231" #type " %%xmm2, %%xmm1, %%xmm0"); return 1; }
#define OPFMAS(type) OPFMA(fmadd, type) OPFMA(fmsub, type) OPFMA(fnmadd, type) OPFMA(fnmsub, type)
#define OPG(label, insn) if (!strcmp(op, label)) { BODYG(insn " %%xmm1, %%rax"); return 1; }
#define OPG32(label, insn) if (!strcmp(op, label)) { BODYG(insn " %%xmm1, %%eax"); return 1; }
#define OPFLAGS(name) if (!strcmp(op, #name)) { BODYG(#name " %%xmm2, %%xmm1\n pushfq\n pop %%rax\n and $0x8d5, %%eax"); return 1; }
#define OPFROM(label, insn) if (!strcmp(op, label)) { memcpy(&G, &A, 8); BODY(insn); return 1; }
#define IMM2_1(name, i) if (imm == i) { BODY("v" #name " $" #i ", %%xmm2, %%xmm1, %%xmm0"); return 1; }
#define IMM1_1(name, i) if (imm == i) { BODY(#name " $" #i ", %%xmm1, %%xmm0"); return 1; }
#define IMMDP_1(name, i) if (imm == i) { BODY("movaps %%xmm1, %%xmm0\n" #name " $" #i ", %%xmm2, %%xmm0"); return 1; }
#define TIMES8(m, name) m(name, 0) m(name, 1) m(name, 2) m(name, 3) m(name, 4) m(name, 5) m(name, 6) m(name, 7)
#define TIMES16(m, name) TIMES8(m, name) m(name, 8) m(name, 9) m(name, 10) m(name, 11) m(name, 12) m(name, 13) m(name, 14) m(name, 15)
#define TIMES32(m, name) TIMES16(m, name) m(name, 16) m(name, 17) m(name, 18) m(name, 19) m(name, 20) m(name, 21) m(name, 22) m(name, 23) \
  m(name, 24) m(name, 25) m(name, 26) m(name, 27) m(name, 28) m(name, 29) m(name, 30) m(name, 31)
#define OPCMP(name) if (!strcmp(op, #name)) { TIMES32(IMM2_1, name) }
#define OPROUND(name) if (!strcmp(op, #name)) { TIMES16(IMM1_1, name) }
#define OPHALF(name) if (!strcmp(op, #name)) { TIMES8(IMM1_1, name) }
#define OPDP(name) if (!strcmp(op, #name)) { IMMDP_1(name, 255) IMMDP_1(name, 241) IMMDP_1(name, 53) IMMDP_1(name, 170) IMMDP_1(name, 49) IMMDP_1(name, 51) }
#define ARITH(t) OP2(add##t) OP2(sub##t) OP2(mul##t) OP2(div##t) OP2(min##t) OP2(max##t) OP1(sqrt##t) OPCMP(cmp##t) OPROUND(round##t)

static int run(const char *op, uint32_t imm) {
  ARITH(ss) ARITH(sd) ARITH(ps) ARITH(pd)
  OP2(haddps) OP2(haddpd) OP2(hsubps) OP2(hsubpd) OP2(addsubps) OP2(addsubpd)
  OPDP(dpps) OPDP(dppd)
  OPFMAS(ss) OPFMAS(sd) OPFMAS(ps) OPFMAS(pd)
  OPFMA(fmaddsub, ps) OPFMA(fmaddsub, pd) OPFMA(fmsubadd, ps) OPFMA(fmsubadd, pd)
  OP1(cvtps2dq) OP1(cvttps2dq) OP1(cvtdq2ps) OP1(cvtdq2pd) OP1(cvtpd2dq) OP1(cvttpd2dq) OP1(cvtpd2ps) OP1(cvtps2pd)
  OP1(cvtss2sd) OP1(cvtsd2ss) OP1(vcvtph2ps) OPHALF(vcvtps2ph)
  OPFLAGS(ucomiss) OPFLAGS(comiss) OPFLAGS(ucomisd) OPFLAGS(comisd)
  OPG32("cvtss2si32", "cvtss2si") OPG("cvtss2si64", "cvtss2si") OPG32("cvttss2si32", "cvttss2si") OPG("cvttss2si64", "cvttss2si")
  OPG32("cvtsd2si32", "cvtsd2si") OPG("cvtsd2si64", "cvtsd2si") OPG32("cvttsd2si32", "cvttsd2si") OPG("cvttsd2si64", "cvttsd2si")
  OPFROM("cvtsi32ss", "cvtsi2ss %%eax, %%xmm0") OPFROM("cvtsi64ss", "cvtsi2ss %%rax, %%xmm0")
  OPFROM("cvtsi32sd", "cvtsi2sd %%eax, %%xmm0") OPFROM("cvtsi64sd", "cvtsi2sd %%rax, %%xmm0")
  return 0;
}

int main(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on_fpe;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGFPE, &action, 0);
  struct { char op[16]; uint32_t imm, count, controls; } request;
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    uint32_t *controls = malloc(4 * request.controls);
    v16 *operands = malloc(48 * (size_t)request.count);
    result *results = calloc(request.count, sizeof(result));
    if (fread(controls, 4, request.controls, stdin) != request.controls) return 1;
    if (fread(operands, 48, request.count, stdin) != request.count) return 1;
    for (uint32_t c = 0; c < request.controls; c++) {
      uint32_t normal = 0x1f80;
      for (uint32_t i = 0; i < request.count; i++) {
        A = operands[3 * i];
        B = operands[3 * i + 1];
        C = operands[3 * i + 2];
        csr = controls[c];
        G = 0;
        int fault = sigsetjmp(jump, 0);
        if (!fault && !run(request.op, request.imm)) {
          fprintf(stderr, "unknown operation %s %u\n", request.op, request.imm);
          return 2;
        }
        __asm__ volatile("ldmxcsr %0" : : "m"(normal));
        result *r = &results[i];
        r->fault = (uint32_t)fault;
        r->flags = after & 0x3f;
        r->g = G;
        r->r = R;
        if (fault) { memset(&r->r, 0, 16); r->g = 0; }
      }
      fwrite(results, sizeof(result), request.count, stdout);
    }
    free(controls); free(operands); free(results);
  }
  return 0;
}
