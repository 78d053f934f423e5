/* Task switches that nothing forbids: Domus does not have them, and says so. One way in each run. */
#include "kernel32.h"

SNIPPET(t_int, "int $0x80");
SNIPPET(t_jump, "ljmp $0xa0, $0");
SNIPPET(t_call, "lcall $0xa8, $0");
SNIPPET(t_iret, "pushf\norl $0x4000, (%esp)\npopf\niret");

void tasks32(int way) {
  static const char *const ways[] = { t_int, t_jump, t_call, t_iret };
  static struct tss32 other;
  gdt[FREE / 8] = descriptor((u32)&other, 103, way == 3 ? 0x8b : 0x89);
  gdt[FREE / 8 + 1] = gate(0, FREE, 0x8500);
  idt[0x80] = gdt[FREE / 8 + 1];
  tss.link = FREE;
  prepare(K32, ways[way]);
  run("task switch");
}
