/* Loops over strings byte by byte: length, copy, compare, search for a byte and for a word. */
#include "program.h"

static char text[4096], copy[4096];

static NOINLINE uint32_t length(const char *s) {
  const char *p = s;
  while (*p) p++;
  return (uint32_t)(p - s);
}
static NOINLINE void copy_string(char *to, const char *from) {
  while ((*to++ = *from++)) {}
}
static NOINLINE int compare(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return (uint8_t)*a - (uint8_t)*b;
}
static NOINLINE const char *find_byte(const char *s, char c) {
  while (*s && *s != c) s++;
  return s;
}
static NOINLINE uint32_t count_word(const char *s, const char *word) {
  uint32_t found = 0;
  for (; *s; s++) {
    uint32_t i = 0;
    while (word[i] && s[i] == word[i]) i++;
    found += !word[i];
  }
  return found;
}

uint64_t work(uint64_t count) {
  uint64_t seed = 31, check = 0;
  for (uint32_t i = 0; i < sizeof text - 1; i++) text[i] = (char)('a' + chance(&seed) % 20);
  for (uint64_t round = 0; round < count; round++) {
    text[round % 1000] = (char)('a' + round % 20);
    copy_string(copy, text);
    copy[round % 4000] ^= 1;
    uint64_t sum = length(text) + (uint64_t)(uint32_t)compare(text, copy);
    sum += (uint64_t)(find_byte(copy, 'z') - copy) * 3;
    sum += count_word(text, "hag") * 1000u;
    check = mix(check, sum);
  }
  return check;
}
