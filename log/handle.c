#include "log/handle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void tlog_handles_init(struct tlog_handles *cache, const struct tlog_io *io, unsigned max)
{
    cache->io = io;
    cache->count = 0;
    cache->max = max < 4 ? 4 : max;
    cache->ring.next = cache->ring.previous = &cache->ring;
    pthread_mutex_init(&cache->lock, NULL);
}

void tlog_handles_release(struct tlog_handles *cache)
{
    pthread_mutex_destroy(&cache->lock);
}

static void unlink_handle(struct tlog_handles *cache, struct tlog_handle *handle)
{
    handle->next->previous = handle->previous;
    handle->previous->next = handle->next;
    cache->count--;
}

static void link_newest(struct tlog_handles *cache, struct tlog_handle *handle)
{
    handle->next = &cache->ring;
    handle->previous = cache->ring.previous;
    handle->previous->next = handle;
    cache->ring.previous = handle;
    cache->count++;
}

int tlog_handle_sync(struct tlog_handle *handle)
{
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
static struct tlog_handle *take_oldest(struct tlog_handles *cache, pthread_mutex_t *held, bool dirty_too)
{
    for (unsigned looked = 2 * cache->count; looked > 0; looked--) {
        struct tlog_handle *oldest = cache->ring.next;
        unlink_handle(cache, oldest);
        bool ours = oldest->owner_lock == held;
        if (!atomic_exchange(&oldest->used, false) && (ours || pthread_mutex_trylock(oldest->owner_lock) == 0)) {
            bool taken = take(oldest, dirty_too);
            if (!ours)
                pthread_mutex_unlock(oldest->owner_lock);
            if (taken)
                return oldest;
        }
        link_newest(cache, oldest);
    }
    return NULL;
}

static struct tlog_handle *open_files(const struct tlog_io *io, const char *path, int flags, int *error)
{
    char name[4096];
    struct tlog_handle *handle = calloc(1, sizeof *handle);
    if (!handle) {
        *error = -ENOMEM;
        return NULL;
    }
    handle->io = io;
    snprintf(name, sizeof name, "%s.log", path);
    handle->log_fd = io->open(io, name, flags);
    if (handle->log_fd >= 0) {
        snprintf(name, sizeof name, "%s.idx", path);
        handle->idx_fd = io->open(io, name, flags);
        if (handle->idx_fd >= 0)
            return handle;
        *error = handle->idx_fd;
        io->close(io, handle->log_fd);
    } else {
        *error = handle->log_fd;
    }
    free(handle);
    return NULL;
}

int tlog_handles_open(struct tlog_handles *cache, const char *path, int flags, struct tlog_handle **owner,
                      pthread_mutex_t *owner_lock, int *sync_error)
{
    /* Over the bound when nothing can be taken: better a few descriptors more than a failed write. */
    struct tlog_handle *old = NULL;
    pthread_mutex_lock(&cache->lock);
    if (cache->count >= cache->max) {
        old = take_oldest(cache, owner_lock, false);
        if (!old)
            old = take_oldest(cache, owner_lock, true);
    }
    pthread_mutex_unlock(&cache->lock);
    if (old)
        tlog_handle_unref(old);

    int error = 0;
    struct tlog_handle *handle = open_files(cache->io, path, flags, &error);
    if (!handle)
        return error;
    atomic_init(&handle->refs, 1);
    atomic_init(&handle->used, true);
    handle->owner = owner;
    handle->owner_lock = owner_lock;
    handle->sync_error = sync_error;
    pthread_mutex_lock(&cache->lock);
    link_newest(cache, handle);
    pthread_mutex_unlock(&cache->lock);
    *owner = handle;
    return 0;
}

void tlog_handles_close(struct tlog_handles *cache, struct tlog_handle **owner)
{
    struct tlog_handle *handle = *owner;
    if (!handle)
        return;
    pthread_mutex_lock(&cache->lock);
    unlink_handle(cache, handle);
    pthread_mutex_unlock(&cache->lock);
    *owner = NULL;
    tlog_handle_unref(handle);
}

void tlog_handle_ref(struct tlog_handle *handle)
{
    atomic_fetch_add_explicit(&handle->refs, 1, memory_order_relaxed);
}

void tlog_handle_unref(struct tlog_handle *handle)
{
    if (atomic_fetch_sub(&handle->refs, 1) != 1)
        return;
    if (handle->map)
        handle->io->unmap(handle->io, handle->map, handle->map_bytes);
    handle->io->close(handle->io, handle->log_fd);
    handle->io->close(handle->io, handle->idx_fd);
    free(handle);
}
