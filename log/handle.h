/* The open files of segments, bounded in number whatever the number of partitions.
 *
 * A segment's .log and .idx are opened together as one handle, or its .zst as one that is never dirty. The partition
 * that owns the segment holds the only pointer to it, guarded by the partition's lock; when the bound is reached the
 * cache takes away the handle of another partition that was not used lately, by trying that partition's lock. Views
 * hold a reference, so that a handle outlives its being taken away for as long as somebody reads from it.
 *
 * Sealed files have a bound of their own: an open one keeps its seek table in memory (8 bytes a frame, 8 KiB for
 * 256 MiB).
 *
 * Lock order: partition → cache. */
#ifndef TLOG_HANDLE_H
#define TLOG_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/sealed.h"

/* What a view keeps from going away: the first member of a handle and of a frame. */
struct tlog_hold {
    void (*release)(struct tlog_hold *hold); /* gives the reference back */
};

struct tlog_handle {
    struct tlog_hold hold;
    const struct tlog_io *io;
    int log_fd, idx_fd;           /* -1: of a sealed file */
    struct tlog_sealed *sealed;   /* NULL: raw files */
    atomic_int refs;              /* one of the owner's, one a view */
    _Atomic(const uint8_t *) map; /* of the .log, NULL until the first view; set once, with the owner's lock */
    size_t map_bytes;

    /* Guarded by the owner's lock, `used` also set without. */
    struct tlog_handle **owner; /* where the pointer to this handle is kept */
    pthread_mutex_t *owner_lock;
    bool dirty;       /* written since its last sync: taken away last, and synced first */
    int *sync_error;  /* where the owner is told that this sync failed */
    atomic_bool used; /* since the cache last looked */

    struct tlog_handle *next, *previous; /* guarded by the cache's lock */
};

struct tlog_handle_ring {
    unsigned count, max;
    struct tlog_handle head; /* oldest first */
};

struct tlog_handles {
    const struct tlog_io *io;
    pthread_mutex_t lock;
    struct tlog_handle_ring raw;    /* two descriptors each */
    struct tlog_handle_ring sealed; /* one */
};

void tlog_handles_init(struct tlog_handles *cache, const struct tlog_io *io, unsigned max_raw, unsigned max_sealed);
void tlog_handles_release(struct tlog_handles *cache);
/* Opens "PATH.log" and "PATH.idx" for writing (or reading only) and keeps the handle in *owner, guarded by
 * `owner_lock`, which the caller holds. `flags` as for io->open. When a dirty handle is later taken away and
 * its sync fails, *sync_error gets the -errno, under the owner's lock. Missing files are -ENOENT. */
int tlog_handles_open(struct tlog_handles *cache, const char *path, int flags, struct tlog_handle **owner,
                      pthread_mutex_t *owner_lock, int *sync_error);
/* Opens "PATH.zst", the sealed segment at `pos`, for nobody yet: the only reference is the caller's. Any thread, no lock
 * needed. -ENOENT; -EBADMSG and -ENOTSUP as tlog_sealed_open. */
int tlog_handle_open_sealed(const struct tlog_io *io, const char *path, uint64_t pos, const uint8_t topic_id[16],
                            struct tlog_handle **out, struct tlog_error *error);
/* Keeps such a handle in *owner, which is NULL, from now on: takes the reference. */
void tlog_handles_keep(struct tlog_handles *cache, struct tlog_handle *handle, struct tlog_handle **owner,
                       pthread_mutex_t *owner_lock);
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

/* A reference, any thread that holds the owner's lock or has one; given back without it. */
struct tlog_handle *tlog_handle_ref(struct tlog_handle *handle);
void tlog_handle_unref(struct tlog_handle *handle);

#endif
