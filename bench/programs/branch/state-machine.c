/* A `switch` over 16 states driven by random bytes: an indirect jump that is hard to foresee. */
#include "program.h"

static uint8_t text[4096];

uint64_t work(uint64_t count) {
  uint64_t seed = 123, check = 0;
  for (uint32_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)chance(&seed);
  uint32_t state = 0, counters[4] = {0};
  for (uint64_t round = 0; round < count; round++) {
    for (uint32_t i = 0; i < sizeof text; i++) {
      uint32_t c = text[i];
      switch (state) {
      case 0: state = c & 15; counters[0]++; break;
      case 1: state = c > 100 ? 2 : 5; break;
      case 2: state = (c + 3) & 7; counters[1] += c; break;
      case 3: state = c ^ 1 ? 8 + (c & 7) : 0; break;
      case 4: state = c >> 4; counters[2] ^= c; break;
      case 5: state = counters[0] & 15; break;
      case 6: state = c & 1 ? 7 : 9; counters[3]--; break;
      case 7: state = (c * 5) >> 7 & 15; break;
      case 8: state = c < 60 ? 0 : 11; counters[1]++; break;
      case 9: state = c & 14; counters[2] += 3; break;
      case 10: state = c & 2 ? 4 : 12; break;
      case 11: state = (c >> 2) & 15; counters[3] += c; break;
      case 12: state = c & 64 ? 13 : 1; break;
      case 13: state = (counters[1] ^ c) & 15; break;
      case 14: state = c & 7; counters[0] += 2; break;
      default: state = (c + counters[3]) & 7; break;
      }
    }
    check = mix(check, counters[round & 3] + state);
  }
  return check;
}
