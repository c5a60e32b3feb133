/* Opening the store for the mount, and telling people what recovery did. */
#ifndef TFS_RECOVERY_H
#define TFS_RECOVERY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tfs;

/* On a terminal, what takes longer than a second shows how far it is. */
struct tfs_progress {
    atomic_bool done; /* what is noted from then on is no recovery's */
    bool terminal, shown;
    int64_t started_ns, last_ns; /* CLOCK_MONOTONIC */
};

/* Opens fs->store at fs->store_path. 0, or -errno when it has been said why not. */
int tfs_store_open(struct tfs *fs);

#endif
