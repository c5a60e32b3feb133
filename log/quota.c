/* Limits: how fast a partition takes data, and what is kept back of the disk.
 *
 * quota.bytes.per.second is a token bucket that holds a second's worth, kept as the time at which it would be full
 * again (Turner's leaky bucket as ATM's generic cell rate algorithm has it). A writer is told how long to wait and is
 * charged at once, so that waiting writers queue behind one another. */
#include "log/quota.h"

#include <errno.h>

int64_t tlog_partition_throttle(struct tlog_partition *partition, uint64_t bytes)
{
    static const int64_t second_ns = 1000000000;
    struct tlog_partition *p = partition;
    int64_t rate = tlog_value(p->topic, TLOG_QUOTA_RATE);
    if (rate < 0)
        return 0;
    double cost = (double)bytes * (double)second_ns / (double)rate;
    int64_t now_ns = p->ground->io->boottime_ns(p->ground->io);
    int64_t cost_ns = cost < (double)TLOG_THROTTLE_MOST_NS ? (int64_t)cost : TLOG_THROTTLE_MOST_NS;
    int64_t old_ns = atomic_load(&p->throttled_ns), new_ns;
    do {
        new_ns = (old_ns > now_ns - second_ns ? old_ns : now_ns - second_ns) + cost_ns;
        if (new_ns > now_ns + TLOG_THROTTLE_MOST_NS)
            new_ns = now_ns + TLOG_THROTTLE_MOST_NS;
    } while (!atomic_compare_exchange_weak(&p->throttled_ns, &old_ns, new_ns));
    return new_ns > now_ns ? new_ns - now_ns : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int tlog_room_for(struct tlog_ground *ground, uint64_t partitions)
{
    enum { INODES_EACH = 3, BYTES_EACH = 8192, MOST_INODES = 4096, MOST_BYTES = 64 << 20 };
    struct tlog_io_statfs fs;
    int r = ground->io->statfs(ground->io, ground->path, &fs);
    if (r < 0)
        return r;
    /* A filesystem that makes inodes as it needs them says 0. */
    if (fs.files > 0 && fs.files_free < least(fs.files / 100, MOST_INODES) + partitions * INODES_EACH)
        return -ENOSPC;
    uint64_t kept = least(fs.blocks * fs.block_bytes / 100, MOST_BYTES);
    return fs.blocks_available * fs.block_bytes < kept + partitions * BYTES_EACH ? -ENOSPC : 0;
}
