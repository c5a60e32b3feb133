/* Sealing the segments of a partition, one at a time. For the maintenance, which alone calls these. */
#ifndef TLOG_SEAL_H
#define TLOG_SEAL_H

#include "log/partition.h"

/* Each returns the nanoseconds until it wants to be called again: 0 at once, there is more; -1 not until something
 * changes (tlog_ground_kick_maintain). */

/* Seals the oldest segment that wants it: full, synced, not damaged, not trimmed. */
int64_t tlog_partition_seal(struct tlog_partition *p);
/* How many full segments are still to be sealed (damaged ones not counted), and when the oldest of them ended. */
unsigned tlog_partition_unsealed(struct tlog_partition *p, int64_t *ended_ns);
/* Removes the raw files of sealed segments that have lingered. */
int64_t tlog_partition_unlinger(struct tlog_partition *p);
/* Rolls the active segment when it is older than segment.ms; appends do this by themselves. */
int64_t tlog_partition_age(struct tlog_partition *p);

#endif
