/* What the guest and the native program have in common: the list of workloads. */
#ifndef WORKLOADS_H
#define WORKLOADS_H
#include <stdint.h>

/* `count` iterations over `buffer` (BUFFER_BYTES, zero at first); the result depends on all of the work. */
typedef uint64_t workload(uint64_t count, uint8_t *buffer);
#define BUFFER_BYTES (1 << 20)

struct workload_entry {
  const char *name;
  workload *run;
};
extern const struct workload_entry workloads[];

/* Told what happens: 'B' before the first round, '.' after each. */
void mark(char what);
void run_rounds(const char *arguments);
void put_text(const char *text);
#endif
