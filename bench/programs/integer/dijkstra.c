/* Shortest ways in a graph of 1,024 places with six roads each, with a binary heap. */
#include "program.h"

#define PLACES 1024
#define ROADS 6
static struct {
  uint16_t to;
  uint16_t length;
} roads[PLACES][ROADS];
static uint32_t distance[PLACES];
static struct entry {
  uint32_t distance;
  uint32_t place;
} heap[PLACES * ROADS + 2];
static uint32_t size;

static void push(uint32_t d, uint32_t place) {
  uint32_t at = ++size;
  for (; at > 1 && heap[at / 2].distance > d; at /= 2) heap[at] = heap[at / 2];
  heap[at].distance = d;
  heap[at].place = place;
}

static struct entry pop(void) {
  struct entry first = heap[1], last = heap[size--];
  uint32_t at = 1;
  for (uint32_t child = 2; child <= size; child = 2 * at) {
    if (child < size && heap[child + 1].distance < heap[child].distance) child++;
    if (heap[child].distance >= last.distance) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = last;
  return first;
}

uint64_t work(uint64_t count) {
  uint64_t seed = 2024, check = 0;
  for (int i = 0; i < PLACES; i++)
    for (int j = 0; j < ROADS; j++) {
      roads[i][j].to = (uint16_t)(chance(&seed) % PLACES);
      roads[i][j].length = (uint16_t)(chance(&seed) % 1000 + 1);
    }
  for (uint64_t round = 0; round < count; round++) {
    for (int i = 0; i < PLACES; i++) distance[i] = 0xffffffff;
    size = 0;
    uint32_t start = (uint32_t)(round * 37 % PLACES);
    distance[start] = 0;
    push(0, start);
    while (size > 0) {
      struct entry here = pop();
      if (here.distance > distance[here.place]) continue;
      for (int j = 0; j < ROADS; j++) {
        uint32_t to = roads[here.place][j].to, d = here.distance + roads[here.place][j].length;
        if (d >= distance[to]) continue;
        distance[to] = d;
        push(d, to);
      }
    }
    for (int i = 0; i < PLACES; i++) check = mix(check, distance[i]);
  }
  return check;
}
