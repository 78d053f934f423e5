/*
 * Runs the workload that the arguments name: "NAME COUNT ROUNDS". Compiled into the guest and into the native program.
 * The first round gets a cleared buffer and the others go on with it, so the check value covers all rounds.
 */
#include "workloads.h"

#define LOOP(name) workload loop_##name;
#include "workloads.inc"
#undef LOOP

#define LOOP(name) {#name, loop_##name},
const struct workload_entry workloads[] = {
#include "workloads.inc"
    {0, 0}};

static uint8_t buffer[BUFFER_BYTES] __attribute__((aligned(4096)));

static const char *word(const char *text, char *out, int room) {
  while (*text == ' ') text++;
  while (*text && *text != ' ') {
    if (room > 1) {
      *out++ = *text;
      room--;
    }
    text++;
  }
  *out = 0;
  return text;
}

static uint64_t number(const char *text) {
  uint64_t value = 0;
  for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
  return value;
}

static int same(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

void run_rounds(const char *arguments) {
  char name[32], digits[32], line[20];
  arguments = word(arguments, name, sizeof name);
  arguments = word(arguments, digits, sizeof digits);
  uint64_t count = number(digits);
  word(arguments, digits, sizeof digits);
  uint64_t rounds = number(digits);
  for (const struct workload_entry *entry = workloads; entry->name; entry++) {
    if (!same(entry->name, name)) continue;
    uint64_t check = 0;
    mark('B');
    while (rounds-- > 0) {
      check = (check << 1 | check >> 63) ^ entry->run(count, buffer);
      mark('.');
    }
    line[0] = '=';
    for (int i = 0; i < 16; i++) line[1 + i] = "0123456789abcdef"[check >> (60 - 4 * i) & 15];
    line[17] = '\n';
    line[18] = 0;
    put_text(line);
    return;
  }
  put_text("?no such workload\n");
}
