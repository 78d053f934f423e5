/* Reads a JSON text of 24 KiB by recursive descent: objects, arrays, strings with escapes, numbers, words. */
#include "program.h"

#define SIZE 24576
static char text[SIZE + 64];
static uint32_t size;
static const char *at;
static uint64_t sum;

static void put(const char *part) {
  while (*part) text[size++] = *part++;
}
static void put_number(uint64_t value) {
  char digits[20];
  int length = 0;
  do digits[length++] = (char)('0' + value % 10);
  while (value /= 10);
  while (length > 0) text[size++] = digits[--length];
}

static void write_text(uint64_t seed) {
  size = 0;
  put("[");
  while (size < SIZE - 256) {
    uint64_t draw = chance(&seed);
    put("{\"name\": \"item ");
    put_number(draw & 1023);
    put(draw & 1024 ? "\\n\\u00e4\", " : "\", ");
    put("\"size\": -");
    put_number(draw >> 40);
    put(".25e");
    put_number(draw >> 11 & 7);
    put(draw & 1 << 15 ? ", \"is good\": true" : ", \"is good\": null");
    put(", \"parts\": [");
    for (uint64_t i = draw >> 16 & 7; i > 0; i--) {
      put_number(chance(&seed) & 0xffff);
      put(", ");
    }
    put("[]]},\n  ");
  }
  put("{}]");
  text[size] = 0;
}

static void space(void) {
  while (*at == ' ' || *at == '\n') at++;
}

static void string(void) {
  uint64_t hash = 0;
  for (at++; *at != '"'; at++) {
    if (*at == '\\') hash += 7, at++;
    hash = hash * 31 + (uint8_t)*at;
  }
  at++;
  sum += hash;
}

static void number(void) {
  int64_t value = 0, exponent = 0;
  int negative = *at == '-';
  if (negative) at++;
  for (; *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
  if (*at == '.')
    for (at++; *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
  if (*at == 'e')
    for (at++; *at >= '0' && *at <= '9'; at++) exponent = exponent * 10 + (*at - '0');
  sum += (uint64_t)(negative ? -value : value) + (uint64_t)exponent;
}

static void value(uint32_t depth) {
  space();
  switch (*at) {
  case '{':
  case '[': {
    char end = *at == '{' ? '}' : ']';
    at++;
    for (space(); *at != end; space()) {
      if (end == '}') {
        string();
        space();
        at++;
      }
      value(depth + 1);
      space();
      if (*at == ',') at++, space();
    }
    at++;
    sum = sum * 3 + depth;
    break;
  }
  case '"': string(); break;
  case 't': at += 4; sum ^= 0x55; break;
  case 'n': at += 4; sum ^= 0x33; break;
  default: number();
  }
}

uint64_t work(uint64_t count) {
  uint64_t check = 0;
  write_text(0x7777);
  for (uint64_t round = 0; round < count; round++) {
    at = text;
    value(0);
    check = mix(check, sum + (uint64_t)(at - text));
  }
  return check;
}
