/* Limits on what may be made. Any thread. */
#ifndef TLOG_QUOTA_H
#define TLOG_QUOTA_H

#include "log/partition.h"

#define TLOG_THROTTLE_MOST_NS INT64_C(3600000000000) /* nobody is told to wait longer */

/* -ENOSPC when making that many partitions would take from what is kept back, a hundredth of the filesystem's inodes and
 * bytes (at most 4096 and 64 MiB), so that the topics that are there can go on rolling segments, and the journal and the
 * checkpoint can be written. */
int tlog_room_for(struct tlog_ground *ground, uint64_t partitions);

#endif
