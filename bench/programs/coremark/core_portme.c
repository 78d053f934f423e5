/*
 * The other half of the port layer. Time is taken outside, around `work`; CoreMark itself is told that the least it
 * accepts, ten seconds, went by. Of what it prints only the final checksums and the count of errors matter.
 */
#include <stdarg.h>
#include "coremark.h"
#include "program.h"

volatile ee_s32 seed1_volatile = 0, seed2_volatile = 0, seed3_volatile = 0x66, seed4_volatile = 0, seed5_volatile = 0;
ee_u32 default_num_contexts = 1;
static uint64_t check;

void portable_init(core_portable *p, int *argc, char **argv) {
  (void)argc, (void)argv;
  p->portable_id = 1;
}
void portable_fini(core_portable *p) { p->portable_id = 0; }
void start_time(void) {}
void stop_time(void) {}
CORE_TICKS get_time(void) { return 10; }
secs_ret time_in_secs(CORE_TICKS ticks) { return ticks; }

static int holds(const char *text, const char *part) {
  for (; *text; text++) {
    int i = 0;
    while (part[i] && text[i] == part[i]) i++;
    if (!part[i]) return 1;
  }
  return 0;
}

int ee_printf(const char *format, ...) {
  va_list values;
  va_start(values, format);
  if (holds(format, "ERROR")) check |= 1ull << 63;
  if (holds(format, "]crc")) {
    (void)va_arg(values, int);
    check = check << 16 ^ va_arg(values, unsigned);
  }
  va_end(values);
  return 0;
}

int coremark_main(void);
uint64_t work(uint64_t count) {
  check = 0;
  seed4_volatile = (ee_s32)count;
  coremark_main();
  return check;
}
