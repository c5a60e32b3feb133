/* Writers over quota.bytes.per.second wait here, before anything of their write is appended.
 *
 * A write that has to wait is kept, with a copy of its data, and no thread waits with it: the partition's readers, other
 * partitions and all other requests go on. When its time has come the write is made by the thread kept for that.
 * FUSE_INTERRUPT (a signal, a killed caller) ends the wait with EINTR, and what it was charged with counts for the
 * partition's next write, so that a writer who is interrupted again and again gets there as soon as one who is not. At
 * the end of the daemon those who wait are let through at once. Any thread. */
#ifndef TFS_THROTTLE_H
#define TFS_THROTTLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct fuse_file_info;
struct fuse_req;
struct tlog_partition;

/* What a partition's writers were charged with and did not write; guarded by tfs_throttle.lock. */
struct tfs_charged {
    uint64_t bytes;
    int64_t due_ns; /* CLOCK_MONOTONIC: when they may be written */
};

/* Makes a write and answers it. */
typedef void tfs_throttled_write(struct fuse_req *req, const char *data, size_t bytes, off_t offset,
                                 struct fuse_file_info *fi);

struct tfs_throttle {
    tfs_throttled_write *write;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop;
    struct tfs_throttled *waiting; /* the one that is due first */
};

void tfs_throttle_init(struct tfs_throttle *throttle, tfs_throttled_write *write);
/* Lets through who still waits, and ends the thread. */
void tfs_throttle_stop(struct tfs_throttle *throttle);

/* Whether the write has to wait; then it is kept, and will be made and answered. Otherwise the caller makes it now. */
bool tfs_throttle_keeps(struct tfs_throttle *throttle, struct tfs_charged *charged, struct tlog_partition *partition,
                        struct fuse_req *req, const char *data, size_t bytes, off_t offset,
                        const struct fuse_file_info *fi);

#endif
