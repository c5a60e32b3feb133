/* What the benchmark programs share: the clock, and giving up with a sentence. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline int64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Prints "program: what: strerror(errno)" and exits with 111. */
static inline __attribute__((noreturn)) void bench_fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(111);
}

static inline __attribute__((noreturn)) void bench_usage(const char *text)
{
    fprintf(stderr, "usage: %s %s\n", program_invocation_short_name, text);
    exit(2);
}

/* A number from the command line, at least `least`; anything else is a mistake in usage. */
static inline uint64_t bench_number(const char *text, uint64_t least)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || value < least) {
        fprintf(stderr, "%s: %s: not a number of at least %llu\n", program_invocation_short_name, text,
                (unsigned long long)least);
        exit(2);
    }
    return value;
}

#endif
