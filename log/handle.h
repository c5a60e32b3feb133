/* The open files of segments, bounded in number whatever the number of partitions.
 *
 * A segment's .log and .idx are opened together as one handle, or its .zst as one that is never dirty. The partition that owns the segment holds the
 * only pointer to it, guarded by the partition's lock; when the bound is reached the cache takes away the
 * handle of another partition that was not used lately, by trying that partition's lock. Views of the mapping
 * hold a reference, so that a handle outlives its being taken away for as long as somebody reads from it.
 *
 * Lock order: partition → cache. */
#ifndef TLOG_HANDLE_H
#define TLOG_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/io.h"

struct tlog_handle {
    const struct tlog_io *io;
    int log_fd, idx_fd;         /* -1: of a sealed file */
    struct tlog_sealed *sealed; /* NULL: raw files */
    atomic_int refs;            /* one of the owner's, one a view */
    const uint8_t *map;         /* of the .log, NULL until the first view; set once */
    size_t map_bytes;

    /* Guarded by the owner's lock, `used` also set without. */
    struct tlog_handle **owner; /* where the pointer to this handle is kept */
    pthread_mutex_t *owner_lock;
    bool dirty;       /* written since its last sync: taken away last, and synced first */
    int *sync_error;  /* where the owner is told that this sync failed */
    atomic_bool used; /* since the cache last looked */

    struct tlog_handle *next, *previous; /* guarded by the cache's lock */
};

struct tlog_handles {
    const struct tlog_io *io;
    pthread_mutex_t lock;
    unsigned count, max;     /* handles, two descriptors each */
    struct tlog_handle ring; /* oldest first */
};

void tlog_handles_init(struct tlog_handles *cache, const struct tlog_io *io, unsigned max);
void tlog_handles_release(struct tlog_handles *cache);
/* Opens "PATH.log" and "PATH.idx" for writing (or reading only) and keeps the handle in *owner, guarded by
 * `owner_lock`, which the caller holds. `flags` as for io->open. When a dirty handle is later taken away and
 * its sync fails, *sync_error gets the -errno, under the owner's lock. Missing files are -ENOENT. */
int tlog_handles_open(struct tlog_handles *cache, const char *path, int flags, struct tlog_handle **owner,
                      pthread_mutex_t *owner_lock, int *sync_error);
/* Syncs both files, whoever holds the owner's lock or a reference. */
int tlog_handle_sync(struct tlog_handle *handle);
/* Takes the handle back from *owner (whose lock the caller holds) and closes it when no view is left. */
void tlog_handles_close(struct tlog_handles *cache, struct tlog_handle **owner);
/* Tells that *owner moved in memory (its array grew). */
static inline void tlog_handle_moved(struct tlog_handle **owner)
{
    if (*owner)
        (*owner)->owner = owner;
}

/* A reference for a view, any thread that holds the owner's lock; given back without it. */
void tlog_handle_ref(struct tlog_handle *handle);
void tlog_handle_unref(struct tlog_handle *handle);

#endif
