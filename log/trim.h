/* Trimming, for retention, cuts and the maintenance. Any thread. */
#ifndef TLOG_TRIM_H
#define TLOG_TRIM_H

#include "log/partition.h"
#include "log/sealed.h"

#define TLOG_DROP_RETRY_NS INT64_C(10000000000)

/* What segment i stands on, from whichever of its forms is there; learns its first seq. With the lock. */
int tlog_segment_header(struct tlog_partition *p, unsigned i, struct tlog_index_header *out);
/* tlog_partition_pin with the lock, pos >= start. */
void tlog_pin_locked(struct tlog_partition *p, uint64_t pos, struct tlog_pin *pin);
/* Unlinks the trimmed segments that no pin keeps any more. Without the lock. Returns the ns until there may be more to
 * do; -1: nothing is left. */
int64_t tlog_partition_drop(struct tlog_partition *p);

#endif
