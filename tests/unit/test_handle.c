/* The cache of open files: bounded, taking away what was not used lately, syncing what is dirty first. */
#include "unit.h"

#include "log/handle.h"

enum { MAX = 4, OWNERS = 12 };

struct owner {
    pthread_mutex_t lock;
    struct tlog_handle *handle;
    int sync_error;
    char path[128];
};

struct cache {
    struct tlog_handles handles;
    struct owner owners[OWNERS];
};

static void begin(struct unit *u, struct cache *cache)
{
    assert_int_equal(u->io->mkdir(u->io, u->path), 0);
    tlog_handles_init(&cache->handles, u->io, MAX, MAX);
    for (unsigned i = 0; i < OWNERS; i++) {
        struct owner *owner = &cache->owners[i];
        pthread_mutex_init(&owner->lock, NULL);
        owner->handle = NULL;
        owner->sync_error = 0;
        snprintf(owner->path, sizeof owner->path, "%s/%u", u->path, i);
    }
}

static int open_one(struct cache *cache, unsigned i, int flags)
{
    struct owner *owner = &cache->owners[i];
    pthread_mutex_lock(&owner->lock);
    int r = 0;
    if (owner->handle)
        atomic_store(&owner->handle->used, true);
    else
        r = tlog_handles_open(&cache->handles, owner->path, flags, &owner->handle, &owner->lock, &owner->sync_error);
    pthread_mutex_unlock(&owner->lock);
    return r;
}

static void end(struct unit *u, struct cache *cache)
{
    for (unsigned i = 0; i < OWNERS; i++) {
        pthread_mutex_lock(&cache->owners[i].lock);
        tlog_handles_close(&cache->handles, &cache->owners[i].handle);
        tlog_handles_close(&cache->handles, &cache->owners[i].handle); /* none: nothing */
        pthread_mutex_unlock(&cache->owners[i].lock);
        pthread_mutex_destroy(&cache->owners[i].lock);
    }
    assert_int_equal(cache->handles.raw.count, 0);
    tlog_handles_release(&cache->handles);
    if (u->disk)
        assert_int_equal(simdisk_open_files(u->disk), 0);
}

static unsigned open_count(const struct cache *cache)
{
    unsigned count = 0;
    for (unsigned i = 0; i < OWNERS; i++)
        count += cache->owners[i].handle != NULL;
    assert_int_equal(count, cache->handles.raw.count);
    return count;
}

static void test_bounded(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    begin(u, &cache);
    assert_int_equal(open_one(&cache, 0, TLOG_IO_WRITE), -ENOENT);
    assert_null(cache.owners[0].handle);
    for (unsigned i = 0; i < OWNERS; i++) {
        assert_int_equal(open_one(&cache, i, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
        assert_int_equal(open_count(&cache), i < MAX ? i + 1 : MAX);
        assert_non_null(cache.owners[i].handle);
        if (u->disk)
            assert_in_range(simdisk_open_files(u->disk), 2, 2 * MAX);
    }
    for (unsigned i = 0; i < OWNERS; i++) { /* the files are there again when they are wanted */
        assert_int_equal(open_one(&cache, i, TLOG_IO_READ), 0);
        assert_int_equal(open_count(&cache), MAX);
    }
    end(u, &cache);
}

static void test_what_is_used_stays(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    begin(u, &cache);
    assert_int_equal(open_one(&cache, 0, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    struct tlog_handle *used = cache.owners[0].handle;
    for (unsigned i = 1; i < OWNERS; i++) {
        assert_int_equal(open_one(&cache, i, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
        assert_int_equal(open_one(&cache, 0, 0), 0);
        atomic_store(&cache.owners[i].handle->used, false);
    }
    /* it was used since each opening, the others were not */
    assert_ptr_equal(cache.owners[0].handle, used);
    end(u, &cache);
}

static void test_dirty_ones_go_last_and_synced(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    begin(u, &cache);
    for (unsigned i = 0; i < MAX; i++)
        assert_int_equal(open_one(&cache, i, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    cache.owners[0].handle->dirty = cache.owners[1].handle->dirty = cache.owners[2].handle->dirty = true;
    uint64_t syncs = simdisk_count(u->disk, 1U << SIM_SYNC);
    assert_int_equal(open_one(&cache, 4, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    assert_null(cache.owners[3].handle); /* the clean one */
    assert_int_equal(simdisk_count(u->disk, 1U << SIM_SYNC), syncs);
    cache.owners[4].handle->dirty = true;
    assert_int_equal(open_one(&cache, 5, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    assert_int_equal(simdisk_count(u->disk, 1U << SIM_SYNC), syncs + 2); /* the .log and the .idx of one */
    assert_int_equal(open_count(&cache), MAX);
    for (unsigned i = 0; i < OWNERS; i++) {
        assert_int_equal(cache.owners[i].sync_error, 0);
        if (cache.owners[i].handle)
            cache.owners[i].handle->dirty = true;
    }
    simdisk_fail(u->disk, 1U << SIM_SYNC, 0, EIO, false);
    assert_int_equal(open_one(&cache, 6, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    unsigned told = 0;
    for (unsigned i = 0; i < OWNERS; i++) {
        told += cache.owners[i].sync_error == -EIO;
        assert_true(cache.owners[i].sync_error == 0 || !cache.owners[i].handle);
    }
    assert_int_equal(told, 1); /* the owner is told */
    end(u, &cache);
}

static void test_busy_owners_are_left_alone(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    begin(u, &cache);
    for (unsigned i = 0; i < MAX; i++) {
        assert_int_equal(open_one(&cache, i, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
        pthread_mutex_lock(&cache.owners[i].lock);
    }
    assert_int_equal(open_one(&cache, 5, TLOG_IO_WRITE | TLOG_IO_CREATE), 0); /* over the bound, but it works */
    assert_int_equal(open_count(&cache), MAX + 1);
    for (unsigned i = 0; i < MAX; i++)
        pthread_mutex_unlock(&cache.owners[i].lock);
    end(u, &cache);
}

static void test_views_hold_the_files(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    char byte = 0;
    begin(u, &cache);
    assert_int_equal(open_one(&cache, 0, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    struct tlog_handle *handle = cache.owners[0].handle;
    struct iovec part = {(char[]){'x'}, 1};
    assert_int_equal(u->io->pwritev(u->io, handle->log_fd, &part, 1, 0), 0);
    tlog_handle_ref(handle);
    atomic_store(&handle->used, false);
    for (unsigned i = 1; i < OWNERS; i++)
        assert_int_equal(open_one(&cache, i, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    assert_null(cache.owners[0].handle);
    assert_int_equal(u->io->pread(u->io, handle->log_fd, &byte, 1, 0), 1); /* still open */
    assert_int_equal(byte, 'x');
    tlog_handle_unref(handle);
    end(u, &cache);
}

static void test_a_moved_owner(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    begin(u, &cache);
    struct owner *owner = &cache.owners[0];
    assert_int_equal(open_one(&cache, 0, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    struct tlog_handle *elsewhere = owner->handle;
    owner->handle = NULL;
    tlog_handle_moved(&elsewhere);
    atomic_store(&elsewhere->used, false);
    for (unsigned i = 1; i < OWNERS; i++)
        assert_int_equal(open_one(&cache, i, TLOG_IO_WRITE | TLOG_IO_CREATE), 0);
    assert_null(elsewhere); /* taken away where it is now */
    end(u, &cache);
}

/* ---- with threads ---- */

struct user {
    struct cache *cache;
    unsigned number, failures;
};

static void *use(void *arg)
{
    struct user *user = arg;
    unsigned random = user->number;
    for (unsigned i = 0; i < 1000; i++) {
        random = random * 1103515245 + 12345;
        struct owner *owner = &user->cache->owners[random / 65536 % OWNERS];
        struct tlog_handle *handle;
        pthread_mutex_lock(&owner->lock);
        int r = owner->handle ? 0
                              : tlog_handles_open(&user->cache->handles, owner->path, TLOG_IO_WRITE | TLOG_IO_CREATE,
                                                  &owner->handle, &owner->lock, &owner->sync_error);
        handle = owner->handle;
        if (r == 0)
            tlog_handle_ref(handle);
        pthread_mutex_unlock(&owner->lock);
        if (r < 0) {
            user->failures++;
            continue;
        }
        struct iovec part = {&random, sizeof random};
        user->failures += handle->io->pwritev(handle->io, handle->log_fd, &part, 1, 0) != 0;
        tlog_handle_unref(handle);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct unit *u = *state;
    struct cache cache;
    struct user users[6];
    pthread_t threads[6];
    begin(u, &cache);
    for (unsigned i = 0; i < 6; i++) {
        users[i] = (struct user){&cache, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
    }
    for (unsigned i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(users[i].failures, 0);
    }
    assert_in_range(open_count(&cache), 1, MAX + 6);
    end(u, &cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_BOTH(test_bounded),
        UNIT_SIM(test_what_is_used_stays),
        UNIT_SIM(test_dirty_ones_go_last_and_synced),
        UNIT_SIM(test_busy_owners_are_left_alone),
        UNIT_BOTH(test_views_hold_the_files),
        UNIT_SIM(test_a_moved_owner),
        UNIT_BOTH(test_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
