#include "log/handle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void ring_init(struct tlog_handle_ring *ring, unsigned max)
{
    ring->count = 0;
    ring->max = max < 4 ? 4 : max;
    ring->head.next = ring->head.previous = &ring->head;
}

void tlog_handles_init(struct tlog_handles *cache, const struct tlog_io *io, unsigned max_raw, unsigned max_sealed)
{
    cache->io = io;
    ring_init(&cache->raw, max_raw);
    ring_init(&cache->sealed, max_sealed);
    pthread_mutex_init(&cache->lock, NULL);
}

void tlog_handles_release(struct tlog_handles *cache)
{
    pthread_mutex_destroy(&cache->lock);
}

static struct tlog_handle_ring *ring_of(struct tlog_handles *cache, const struct tlog_handle *handle)
{
    return handle->sealed ? &cache->sealed : &cache->raw;
}

static void unlink_handle(struct tlog_handle_ring *ring, struct tlog_handle *handle)
{
    handle->next->previous = handle->previous;
    handle->previous->next = handle->next;
    ring->count--;
}

static void link_newest(struct tlog_handle_ring *ring, struct tlog_handle *handle)
{
    handle->next = &ring->head;
    handle->previous = ring->head.previous;
    handle->previous->next = handle;
    ring->head.previous = handle;
    ring->count++;
}

int tlog_handle_sync(struct tlog_handle *handle)
{
    if (handle->sealed) /* that is how it got its name */
        return 0;
    int log = handle->io->sync(handle->io, handle->log_fd);
    int idx = handle->io->sync(handle->io, handle->idx_fd);
    return log < 0 ? log : idx;
}

/* Takes `handle` from its owner, whose lock is held; a dirty one only if `dirty_too`, after syncing it. */
static bool take(struct tlog_handle *handle, bool dirty_too)
{
    if (handle->dirty) {
        if (!dirty_too)
            return false;
        int r = tlog_handle_sync(handle);
        if (r < 0)
            *handle->sync_error = r;
    }
    *handle->owner = NULL;
    return true;
}

/* Takes the handle that was not used for longest from its owner; NULL when none can be had without waiting.
 * Called with the cache's lock and `held`, the lock of the partition that asks. */
static struct tlog_handle *take_oldest(struct tlog_handle_ring *ring, pthread_mutex_t *held, bool dirty_too)
{
    for (unsigned looked = 2 * ring->count; looked > 0; looked--) {
        struct tlog_handle *oldest = ring->head.next;
        unlink_handle(ring, oldest);
        bool ours = oldest->owner_lock == held;
        if (!atomic_exchange(&oldest->used, false) && (ours || pthread_mutex_trylock(oldest->owner_lock) == 0)) {
            bool taken = take(oldest, dirty_too);
            if (!ours)
                pthread_mutex_unlock(oldest->owner_lock);
            if (taken)
                return oldest;
        }
        link_newest(ring, oldest);
    }
    return NULL;
}

/* Makes room for one more handle. Over the bound when nothing can be taken: better a few descriptors more than a failed
 * write. */
static void make_room(struct tlog_handles *cache, struct tlog_handle_ring *ring, pthread_mutex_t *held)
{
    struct tlog_handle *old = NULL;
    pthread_mutex_lock(&cache->lock);
    if (ring->count >= ring->max) {
        old = take_oldest(ring, held, false);
        if (!old)
            old = take_oldest(ring, held, true);
    }
    pthread_mutex_unlock(&cache->lock);
    if (old)
        tlog_handle_unref(old);
}

static void release_hold(struct tlog_hold *hold)
{
    tlog_handle_unref((struct tlog_handle *)(void *)hold);
}

static struct tlog_handle *handle_new(const struct tlog_io *io)
{
    struct tlog_handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        return NULL;
    handle->hold.release = release_hold;
    handle->io = io;
    handle->log_fd = handle->idx_fd = -1;
    atomic_init(&handle->refs, 1);
    atomic_init(&handle->used, true);
    return handle;
}

static struct tlog_handle *open_files(const struct tlog_io *io, const char *path, int flags, int *error)
{
    char name[4096];
    struct tlog_handle *handle = handle_new(io);
    if (!handle) {
        *error = -ENOMEM;
        return NULL;
    }
    /* The index is made first: who copies the store meanwhile finds one without a log, which is nothing. */
    snprintf(name, sizeof name, "%s.idx", path);
    handle->idx_fd = io->open(io, name, flags);
    if (handle->idx_fd >= 0) {
        snprintf(name, sizeof name, "%s.log", path);
        handle->log_fd = io->open(io, name, flags);
        if (handle->log_fd >= 0)
            return handle;
        *error = handle->log_fd;
        io->close(io, handle->idx_fd);
    } else {
        *error = handle->idx_fd;
    }
    free(handle);
    return NULL;
}

static void own(struct tlog_handles *cache, struct tlog_handle *handle, struct tlog_handle **owner,
                pthread_mutex_t *owner_lock)
{
    struct tlog_handle_ring *ring = ring_of(cache, handle);
    handle->owner = owner;
    handle->owner_lock = owner_lock;
    pthread_mutex_lock(&cache->lock);
    link_newest(ring, handle);
    pthread_mutex_unlock(&cache->lock);
    *owner = handle;
}

int tlog_handles_open(struct tlog_handles *cache, const char *path, int flags, struct tlog_handle **owner,
                      pthread_mutex_t *owner_lock, int *sync_error)
{
    make_room(cache, &cache->raw, owner_lock);
    int error = 0;
    struct tlog_handle *handle = open_files(cache->io, path, flags, &error);
    if (!handle)
        return error;
    handle->sync_error = sync_error;
    own(cache, handle, owner, owner_lock);
    return 0;
}

int tlog_handle_open_sealed(const struct tlog_io *io, const char *path, uint64_t pos, const uint8_t topic_id[16],
                            struct tlog_handle **out, struct tlog_error *error)
{
    char name[4096];
    snprintf(name, sizeof name, "%s.zst", path);
    struct tlog_handle *handle = handle_new(io);
    int fd = handle ? io->open(io, name, TLOG_IO_READ) : -ENOMEM;
    int r = fd < 0 ? fd : tlog_sealed_open(&handle->sealed, io, fd, pos, topic_id, error);
    if (r < 0) {
        free(handle);
        return r;
    }
    *out = handle;
    return 0;
}

void tlog_handles_keep(struct tlog_handles *cache, struct tlog_handle *handle, struct tlog_handle **owner,
                       pthread_mutex_t *owner_lock)
{
    make_room(cache, &cache->sealed, owner_lock);
    own(cache, handle, owner, owner_lock);
}

void tlog_handles_close(struct tlog_handles *cache, struct tlog_handle **owner)
{
    struct tlog_handle *handle = *owner;
    if (!handle)
        return;
    pthread_mutex_lock(&cache->lock);
    unlink_handle(ring_of(cache, handle), handle);
    pthread_mutex_unlock(&cache->lock);
    *owner = NULL;
    tlog_handle_unref(handle);
}

struct tlog_handle *tlog_handle_ref(struct tlog_handle *handle)
{
    atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
    return handle;
}

void tlog_handle_unref(struct tlog_handle *handle)
{
    if (atomic_fetch_sub(&handle->refs, 1) != 1)
        return;
    if (handle->map)
        handle->io->unmap(handle->io, handle->map, handle->map_bytes);
    if (handle->sealed) {
        tlog_sealed_free(handle->sealed);
    } else {
        handle->io->close(handle->io, handle->log_fd);
        handle->io->close(handle->io, handle->idx_fd);
    }
    free(handle);
}
