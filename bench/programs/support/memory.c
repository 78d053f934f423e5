/* The two functions that the compiler may call without being asked to. */
#include "program.h"

void *memset(void *to, int value, __SIZE_TYPE__ size) {
  for (uint8_t *p = to; size > 0; size--) *p++ = (uint8_t)value;
  return to;
}
void *memcpy(void *to, const void *from, __SIZE_TYPE__ size) {
  const uint8_t *q = from;
  for (uint8_t *p = to; size > 0; size--) *p++ = *q++;
  return to;
}
