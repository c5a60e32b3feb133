#include "stream.h"

#include <string.h>

static const char hex[] = "0123456789abcdef";

uint64_t stream_random(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

static uint64_t line_seed(unsigned writer, uint32_t number)
{
    return ((uint64_t)writer << 32) | number;
}

static char *put_hex(char *to, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        to[i] = hex[value & 15];
    to[digits] = ' ';
    return to + digits + 1;
}

size_t stream_line(char *to, unsigned writer, uint32_t number, size_t payload)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";
    uint64_t state = line_seed(writer, number) ^ payload << 40;
    char *at = put_hex(put_hex(put_hex(to, writer, 4), number, 8), payload, 6);
    uint64_t bits = 0;
    for (size_t i = 0; i < payload; i++, bits >>= 6) {
        if (i % 10 == 0)
            bits = stream_random(&state);
        *at++ = letters[bits & 63];
    }
    *at++ = '\n';
    return (size_t)(at - to);
}

size_t stream_payload(unsigned writer, uint32_t number, size_t max)
{
    uint64_t state = line_seed(writer, number) * 31 + 7;
    uint64_t kind = stream_random(&state) % 100;
    size_t bound = kind < 70 ? 200 : kind < 97 ? 4096 : max;
    if (bound > max)
        bound = max;
    return bound == 0 ? 0 : stream_random(&state) % (bound + 1);
}

static bool get_hex(const char *from, int digits, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++) {
        const char *digit = strchr(hex, from[i]);
        if (digit == NULL || *digit == '\0')
            return false;
        *out = *out << 4 | (uint64_t)(digit - hex);
    }
    return from[digits] == ' ';
}

bool stream_head(const char *line, size_t length, unsigned *writer, uint32_t *number, size_t *payload)
{
    uint64_t id, seq, bytes;
    if (length < STREAM_HEAD_BYTES || !get_hex(line, 4, &id) || !get_hex(line + 5, 8, &seq) ||
        !get_hex(line + 14, 6, &bytes) || bytes > STREAM_PAYLOAD_MAX)
        return false;
    *writer = (unsigned)id;
    *number = (uint32_t)seq;
    *payload = (size_t)bytes;
    return true;
}
