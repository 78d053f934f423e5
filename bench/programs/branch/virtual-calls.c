/* Calls through function pointers: eight kinds of object in random order, two methods each. */
#include "program.h"

struct object;
struct kind {
  uint64_t (*area)(const struct object *);
  void (*grow)(struct object *, uint64_t);
};
struct object {
  const struct kind *kind;
  uint64_t a, b;
};

#define KIND(n, AREA, GROW)                                                        \
  static uint64_t area_##n(const struct object *o) { return AREA; }                \
  static void grow_##n(struct object *o, uint64_t by) { GROW; }                    \
  static const struct kind kind_##n = {area_##n, grow_##n};
KIND(0, o->a * o->b, o->a += by)
KIND(1, o->a + o->b, o->b += by)
KIND(2, o->a ^ o->b, (o->a ^= by, o->b++))
KIND(3, o->a * 3, o->a -= by)
KIND(4, o->b >> 2, o->b = o->b * 5 + by)
KIND(5, o->a - o->b, (o->a++, o->b += by))
KIND(6, o->a | o->b, o->a = (o->a << 1) + by)
KIND(7, o->b * o->b, o->b = o->a + by)

static struct object objects[256];

uint64_t work(uint64_t count) {
  static const struct kind *const kinds[8] = {&kind_0, &kind_1, &kind_2, &kind_3,
                                              &kind_4, &kind_5, &kind_6, &kind_7};
  uint64_t seed = 3, sum = 0;
  for (uint32_t i = 0; i < COUNT(objects); i++) {
    objects[i].kind = kinds[chance(&seed) & 7];
    objects[i].a = i;
    objects[i].b = i * 2 + 1;
  }
  for (uint64_t round = 0; round < count; round++)
    for (uint32_t i = 0; i < COUNT(objects); i++) {
      struct object *o = &objects[i];
      sum += o->kind->area(o);
      o->kind->grow(o, sum & 7);
    }
  return sum;
}
