/* Linked lists, 16-bit matrices and a state machine over text, as in benchmarks for small processors, tied up by a CRC. */
#include "program.h"

static uint16_t crc16(uint32_t value, int bits, uint16_t crc) {
  /* CRC-16/ARC (polynomial 0x8005 reflected), bit by bit. */
  for (; bits > 0; bits--, value >>= 1) {
    unsigned out = (crc ^ value) & 1;
    crc >>= 1;
    if (out) crc ^= 0xa001;
  }
  return crc;
}

static uint32_t draw(uint32_t *state) {
  *state = *state * 1664525 + 1013904223;
  return *state >> 8;
}

/* ---- lists: build in random order, reverse, merge sort by one key and then by the other, search ---- */

struct item {
  struct item *next;
  int16_t key;
  uint16_t tag;
};
#define ITEMS 96

static int by_key(const struct item *a, const struct item *b) { return a->key - b->key; }
static int by_tag(const struct item *a, const struct item *b) { return (int)a->tag - (int)b->tag; }

static struct item *merge_sort(struct item *list, int (*compare)(const struct item *, const struct item *)) {
  if (!list || !list->next) return list;
  struct item *slow = list, *fast = list->next;
  while (fast && fast->next) slow = slow->next, fast = fast->next->next;
  struct item *right = slow->next;
  slow->next = 0;
  struct item *left = merge_sort(list, compare);
  right = merge_sort(right, compare);
  struct item head, *tail = &head;
  while (left && right) {
    struct item **smaller = compare(left, right) <= 0 ? &left : &right;
    tail->next = *smaller;
    tail = *smaller;
    *smaller = tail->next;
  }
  tail->next = left ? left : right;
  return head.next;
}

static uint16_t lists(struct item *pool, uint32_t *seed, uint16_t crc) {
  struct item *list = 0;
  for (int i = 0; i < ITEMS; i++) {
    pool[i].key = (int16_t)draw(seed);
    pool[i].tag = (uint16_t)i;
    pool[i].next = list;
    list = &pool[i];
  }
  list = merge_sort(list, by_key);
  for (int find = 0; find < ITEMS; find += 7) {
    int steps = 0;
    for (struct item *at = list; at && at->tag != find; at = at->next) steps++;
    crc = crc16((uint32_t)steps, 8, crc);
  }
  struct item *reversed = 0;
  while (list) {
    struct item *next = list->next;
    list->next = reversed;
    reversed = list;
    list = next;
  }
  list = merge_sort(reversed, by_tag);
  for (; list; list = list->next) crc = crc16((uint16_t)list->key, 16, crc);
  return crc;
}

/* ---- matrices: product, product with a vector, bit fields ---- */

#define SIDE 14
struct matrices {
  int16_t a[SIDE][SIDE], b[SIDE][SIDE];
  int32_t c[SIDE][SIDE];
};

static uint16_t matrices(struct matrices *m, uint32_t *seed, uint16_t crc) {
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      m->a[i][j] = (int16_t)(draw(seed) & 0x3ff);
      m->b[i][j] = (int16_t)(draw(seed) & 0x1ff) - 0x100;
    }
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      int32_t sum = 0;
      for (int k = 0; k < SIDE; k++) sum += m->a[i][k] * m->b[k][j];
      m->c[i][j] = sum;
    }
  for (int i = 0; i < SIDE; i++) {
    int32_t sum = 0;
    for (int j = 0; j < SIDE; j++) sum += (m->c[i][j] >> 3 & 0x3f) * (m->c[j][i] & 0x1f) + m->c[i][j] / 11;
    crc = crc16((uint32_t)sum, 32, crc);
  }
  return crc;
}

/* ---- states: reads comma-separated words as integers, fractions, hexadecimal or nonsense, and counts each ---- */

enum state { BEGIN, SIGN, ZERO, INTEGER, POINT, FRACTION, HEX, WRONG, STATES };
#define TEXT_BYTES 400

static enum state step(enum state state, uint8_t c) {
  int digit = c >= '0' && c <= '9';
  switch (state) {
  case BEGIN:
    if (c == '+' || c == '-') return SIGN;
    /* fall through */
  case SIGN:
    return c == '0' ? ZERO : digit ? INTEGER : c == '.' ? POINT : WRONG;
  case ZERO:
    if (c == 'x') return HEX;
    /* fall through */
  case INTEGER:
    return digit ? INTEGER : c == '.' ? POINT : WRONG;
  case POINT:
  case FRACTION:
    return digit ? FRACTION : WRONG;
  case HEX:
    return digit || (c >= 'a' && c <= 'f') ? HEX : WRONG;
  default:
    return WRONG;
  }
}

static uint16_t states(uint8_t *text, uint32_t *seed, uint16_t crc) {
  static const char *const words[] = {"12", "-7.25", "0x3f", "hello", "+.5", "0", "9.9.9", "31415", "0xyz", "-"};
  uint32_t ends[STATES] = {0}, visits[STATES] = {0};
  int size = 0;
  while (size < TEXT_BYTES - 8) {
    for (const char *word = words[draw(seed) % 10]; *word; word++) text[size++] = (uint8_t)*word;
    text[size++] = ',';
  }
  for (int pass = 0; pass < 2; pass++) {
    enum state state = BEGIN;
    for (int i = 0; i < size; i++) {
      if (text[i] == ',') {
        ends[state]++;
        state = BEGIN;
      } else {
        state = step(state, text[i]);
        visits[state]++;
      }
    }
    /* The second pass meets damaged text. */
    for (int i = pass; i < size; i += 13)
      if (text[i] != ',') text[i] ^= 3;
  }
  for (int i = 0; i < STATES; i++) crc = crc16(ends[i] << 16 | visits[i], 32, crc);
  return crc;
}

static uint8_t buffer[20480] __attribute__((aligned(64)));

uint64_t work(uint64_t count) {
  uint16_t crc = 0xffff;
  for (uint64_t i = 0; i < count; i++) {
    uint32_t seed = (uint32_t)i * 2654435761u + 1;
    crc = lists((struct item *)buffer, &seed, crc);
    crc = matrices((struct matrices *)(buffer + 8192), &seed, crc);
    crc = states(buffer + 16384, &seed, crc);
  }
  return crc;
}
