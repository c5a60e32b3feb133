/* Retention of one partition, for the maintenance. */
#ifndef TLOG_RETENTION_H
#define TLOG_RETENTION_H

#include "log/partition.h"

#define TLOG_RETENTION_LOOK_NS INT64_C(10000000000) /* how often sizes are looked at */

/* Trims what retention.ms and retention.bytes no longer keep. Without a lock. Returns the ns until it wants to be called
 * again; -1: not until something changes. */
int64_t tlog_partition_retain(struct tlog_partition *p);

#endif
