/* One kind of instruction in a loop (loops.S); `LOOP` says which. */
#include "program.h"

/* `count` iterations over a buffer of 1 MiB that is zero at first. */
uint64_t LOOP(uint64_t count, uint8_t *buffer);

static uint8_t buffer[1 << 20] __attribute__((aligned(4096)));

uint64_t work(uint64_t count) { return LOOP(count, buffer); }
