/* Five bodies under gravity, a step at a time: square roots, divisions, scalar doubles. */
#include "program.h"

#define BODIES 5
static struct {
  double position[3], velocity[3], mass;
} bodies[BODIES];

uint64_t work(uint64_t count) {
  for (int i = 0; i < BODIES; i++) {
    for (int k = 0; k < 3; k++) {
      bodies[i].position[k] = (i * 5 + k * 3) % 7 * 1.5 - 4.0 + i;
      bodies[i].velocity[k] = (i + k * 2) % 5 * 0.01 - 0.02;
    }
    bodies[i].mass = i == 0 ? 30.0 : 0.01 * i;
  }
  for (uint64_t step = 0; step < count; step++) {
    for (int i = 0; i < BODIES; i++)
      for (int j = i + 1; j < BODIES; j++) {
        double between[3], square = 0.01;
        for (int k = 0; k < 3; k++) {
          between[k] = bodies[i].position[k] - bodies[j].position[k];
          square += between[k] * between[k];
        }
        double pull = 0.001 / (square * square_root(square));
        for (int k = 0; k < 3; k++) {
          bodies[i].velocity[k] -= between[k] * bodies[j].mass * pull;
          bodies[j].velocity[k] += between[k] * bodies[i].mass * pull;
        }
      }
    for (int i = 0; i < BODIES; i++)
      for (int k = 0; k < 3; k++) bodies[i].position[k] += 0.001 * bodies[i].velocity[k];
  }
  uint64_t check = 0;
  for (int i = 0; i < BODIES; i++)
    for (int k = 0; k < 3; k++) check = mix(check, bits_of(bodies[i].position[k]));
  return check;
}
