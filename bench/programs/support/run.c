#include "run.h"
#include "program.h"

void run_program(const char *digits, void (*put)(const char *)) {
  uint64_t count = 0;
  for (; *digits >= '0' && *digits <= '9'; digits++) count = count * 10 + (uint64_t)(*digits - '0');
  put("@begin\n");
  uint64_t check = work(count);
  put("@end\n");
  char line[] = "@check 0000000000000000\n";
  for (int i = 0; i < 16; i++) line[7 + i] = "0123456789abcdef"[check >> (60 - 4 * i) & 15];
  put(line);
}
