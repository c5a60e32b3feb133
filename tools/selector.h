/* The words that select where to begin and end: start, end, r123, b4096, -100, -15m, 2026-11-22T10:00:00Z. */
#ifndef CTL_SELECTOR_H
#define CTL_SELECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/store.h"

enum selector_kind { SELECT_START, SELECT_END, SELECT_SEQ, SELECT_POS, SELECT_LAST, SELECT_TIME };

struct selector {
    enum selector_kind kind;
    int64_t value; /* a seq, a pos, a count of records, or nanoseconds of CLOCK_REALTIME */
};

/* Times like -15m count back from now_ns; timestamps without a zone are UTC. False when it is none of these. */
bool selector_parse(const char *text, int64_t now_ns, struct selector *out);

/* The record that `selector` names in a partition; the end when there is none yet, the oldest kept one when it is
 * gone. 0 or -errno. */
int selector_find(const struct selector *selector, struct ctl_partition *partition, uint64_t *pos, uint64_t *seq);

/* "2026-11-22T10:00:00.123Z" */
char *time_format(int64_t time_ns, char to[40]);

#endif
