/* Streams of self-describing lines: whoever reads one knows from its head what every byte of it must be.
 *
 * A line is "IIII SSSSSSSS LLLLLL PAYLOAD\n": the writer's number, the line's number in that writer's stream and
 * the payload's length, in hexadecimal, then a payload that follows from these. No byte is NUL. */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STREAM_WRITERS = 1 << 16,
    STREAM_HEAD_BYTES = 4 + 1 + 8 + 1 + 6 + 1,
    STREAM_PAYLOAD_MAX = 1000000,
    STREAM_LINE_MAX = STREAM_HEAD_BYTES + STREAM_PAYLOAD_MAX + 1,
};

/* Writes line `number` of `writer`, whose payload is `payload` bytes, into `to`; returns its length with the
 * newline. */
size_t stream_line(char *to, unsigned writer, uint32_t number, size_t payload);
/* A payload length for a line: mostly short, now and then up to `max`. */
size_t stream_payload(unsigned writer, uint32_t number, size_t max);
/* Reads the head of a line. False when these are not the first STREAM_HEAD_BYTES of any. */
bool stream_head(const char *line, size_t length, unsigned *writer, uint32_t *number, size_t *payload);
/* The next of a sequence of pseudo-random numbers. */
uint64_t stream_random(uint64_t *state);

#endif
