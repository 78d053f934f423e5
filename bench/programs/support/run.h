/* Runs `work` and tells the host about it in lines: "@begin", "@end", "@check HEX". */
#ifndef RUN_H
#define RUN_H

/* `count` in decimal digits; `put` writes text to wherever the host reads. */
void run_program(const char *count, void (*put)(const char *));
#endif
