/* Removing topics and partitions, and renaming topics. What holds records goes to the trash. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/spare.h"
#include "log/trash.h"

void tlog_partition_gone(struct tlog_partition *p, const char *dir)
{
    p->deleted = true;
    p->trash = dir ? strdup(dir) : NULL;
    for (unsigned i = 0; i < p->segment_count; i++)
        tlog_handles_close(&p->ground->handles, &p->segments[i].handle);
}

void tlog_topic_forget(struct tlog_topic *topic)
{
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i]) {
            pthread_mutex_lock(&topic->partitions[i]->lock);
            tlog_partition_gone(topic->partitions[i], NULL);
            pthread_mutex_unlock(&topic->partitions[i]->lock);
        }
}

/* Moves the directory of partition p, or of the whole topic (`p` NULL), to the trash under a name that says what it was
 * and when; `to` gets its path there. */
static int move_to_trash(struct tlog_topic *topic, const struct tlog_partition *p, const char *dir,
                         char to[TLOG_NAME_BYTES])
{
    struct tlog_ground *ground = topic->head.ground;
    const struct tlog_io *io = ground->io;
    char trash[TLOG_NAME_BYTES], number[16] = "";
    int64_t now_ns = tlog_clock_stamp(&ground->clock, io->realtime_ns(io), io->boottime_ns(io));
    snprintf(trash, sizeof trash, "%s/trash", ground->path);
    int r = io->mkdir(io, trash);
    if (r == 0)
        r = io->sync_dir(io, ground->path);
    if (r < 0 && r != -EEXIST)
        return r;
    if (p)
        snprintf(number, sizeof number, ".%u", p->number);
    /* A name that is near the longest is cut, so that the rest still fits; `origin` has the whole. */
    if (snprintf(to, TLOG_NAME_BYTES, "%s/%.225s%s.%" PRId64, trash, topic->head.name, number, now_ns) >=
        TLOG_NAME_BYTES)
        return -ENAMETOOLONG;
    r = tlog_origin_write(topic, p, dir, now_ns);
    if (r == -ENOSPC || r == -EDQUOT) /* to remove something is how a full disk is mended */
        r = 0;
    if (r == 0)
        r = io->rename(io, dir, to);
    if (r == 0)
        r = io->sync_dir(io, trash);
    tlog_ground_kick_maintain(ground); /* trash.retention.ms may be 0 */
    return r;
}

/* What has ended unfinished lines is in the page cache; the journal forgets those that it had, so it must be synced. */
static int sync_active(struct tlog_partition *p)
{
    struct tlog_handle *handle;
    int r = tlog_entry_close(p);
    if (r == 0 && tlog_active_open(p, &handle) == 0 && handle->dirty)
        r = tlog_handle_sync(handle);
    return r;
}

static bool holds_records(const struct tlog_partition *p)
{
    return p->end > p->start || p->pending > 0;
}

/* Whether partitions with records were removed from it: what `rm -r` leaves to rmdir. In the trash they can be restored
 * as long as their topic can. */
static bool remembers_ends(const struct tlog_topic *topic)
{
    for (unsigned i = 0; i < topic->ends_count; i++)
        if (topic->ends[i].pos > 0)
            return true;
    return false;
}

/* With all the partitions' locks, so that nothing is appended meanwhile. */
static int remove_locked(struct tlog_topic *topic, bool discard)
{
    struct tlog_store *store = tlog_store_of(topic->head.ground);
    char dir[TLOG_NAME_BYTES], gone[TLOG_NAME_BYTES], id[33], topics[TLOG_NAME_BYTES], own[TLOG_NAME_BYTES + 16];
    tlog_topic_dir(&topic->head, dir);
    bool records = false;
    for (unsigned i = 0; i < topic->partition_count; i++)
        records = records || (topic->partitions[i] && holds_records(topic->partitions[i]));
    if (records && !discard)
        return -ENOTEMPTY;
    for (unsigned i = 0; records && i < topic->partition_count; i++)
        if (topic->partitions[i])
            tlog_writers_end(topic->partitions[i]);
    for (unsigned i = 0; records && i < topic->partition_count; i++)
        if (topic->partitions[i])
            (void)sync_active(topic->partitions[i]);
    snprintf(topics, sizeof topics, "%s/topics", store->ground.path);
    int r;
    if (records || remembers_ends(topic)) {
        r = move_to_trash(topic, NULL, dir, gone);
    } else {
        tlog_topic_hex(topic->head.id, id);
        snprintf(gone, sizeof gone, "%s/topics/.gone.%s", store->ground.path, id);
        r = store->ground.io->rename(store->ground.io, dir, gone);
        if (r == 0)
            tlog_tree_remove(store->ground.io, gone);
    }
    if (r < 0)
        return r;
    (void)store->ground.io->sync_dir(store->ground.io, topics);
    topic->deleted = true;
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i]) {
            snprintf(own, sizeof own, "%s/%u", gone, i);
            tlog_partition_gone(topic->partitions[i], records ? own : NULL);
        }
    return 0;
}

static void lock_partitions(struct tlog_topic *topic, bool lock)
{
    for (unsigned i = 0; i < topic->partition_count; i++)
        if (topic->partitions[i] && lock)
            pthread_mutex_lock(&topic->partitions[i]->lock);
        else if (topic->partitions[i])
            pthread_mutex_unlock(&topic->partitions[i]->lock);
}

static int topic_remove_once(struct tlog_topic *topic, bool discard)
{
    struct tlog_store *store = tlog_store_of(topic->head.ground);
    if (store->ground.options.read_only || atomic_load(&store->ground.failed))
        return -EROFS;
    pthread_mutex_lock(&store->ground.admin_lock);
    pthread_mutex_lock(&topic->head.lock);
    int r = -ESTALE;
    for (unsigned i = 0; discard && i < topic->partition_count; i++) /* the trash keeps what was acknowledged */
        if (topic->partitions[i])
            (void)tlog_partition_flush(topic->partitions[i]);
    if (!topic->deleted) {
        lock_partitions(topic, true);
        r = remove_locked(topic, discard);
        lock_partitions(topic, false);
    }
    pthread_mutex_unlock(&topic->head.lock);
    if (r == 0)
        tlog_table_remove(store, topic);
    pthread_mutex_unlock(&store->ground.admin_lock);
    if (r == 0)
        tlog_topic_unref(topic); /* the table's */
    return r;
}

static int partition_remove(struct tlog_partition *p, bool discard)
{
    struct tlog_topic *topic = tlog_topic_of(p);
    char dir[TLOG_NAME_BYTES], topic_dir[TLOG_NAME_BYTES], gone[TLOG_NAME_BYTES];
    bool records = holds_records(p);
    if (records && !discard)
        return -EPERM;
    tlog_writers_end(p);
    int r = records ? sync_active(p) : tlog_entry_close(p);
    if (r < 0)
        return r;
    tlog_topic_dir(&topic->head, topic_dir);
    tlog_partition_dir(p, dir);
    if (p->closed.pos > 0) {
        r = tlog_topic_set_end(topic, p->number, &p->closed);
        if (r == 0)
            r = tlog_topic_write_removed(topic, topic_dir);
        if (r < 0)
            return r;
    }
    if (records) {
        r = move_to_trash(topic, p, dir, gone);
    } else {
        if (snprintf(gone, sizeof gone, "%s/.gone.%u", topic_dir, p->number) >= (int)sizeof gone)
            return -ENAMETOOLONG;
        r = p->ground->io->rename(p->ground->io, dir, gone);
        if (r == 0)
            tlog_tree_remove(p->ground->io, gone);
    }
    if (r == 0)
        (void)p->ground->io->sync_dir(p->ground->io, topic_dir);
    if (r == 0)
        tlog_partition_gone(p, records ? gone : NULL);
    return r;
}

static int partition_remove_once(struct tlog_partition *partition, bool discard)
{
    struct tlog_topic *topic = tlog_topic_of(partition);
    if (topic->head.ground->options.read_only || atomic_load(&topic->head.ground->failed))
        return -EROFS;
    pthread_mutex_lock(&topic->head.ground->admin_lock); /* unfinished lines are appended: not within a cut */
    pthread_mutex_lock(&topic->head.lock);
    if (discard)
        (void)tlog_partition_flush(partition); /* the trash keeps what was acknowledged */
    pthread_mutex_lock(&partition->lock);
    int r = partition->deleted ? -ESTALE : partition_remove(partition, discard);
    pthread_mutex_unlock(&partition->lock);
    if (r == 0) {
        topic->partitions[partition->number] = NULL;
        while (topic->partition_count > 0 && !topic->partitions[topic->partition_count - 1])
            topic->partition_count--;
        topic->mtime_ns = tlog_ground_time_ns(topic->head.ground);
    }
    pthread_mutex_unlock(&topic->head.lock);
    pthread_mutex_unlock(&topic->head.ground->admin_lock);
    if (r == 0)
        tlog_partition_put(partition);
    return r;
}

int tlog_topic_remove(struct tlog_topic *topic, bool discard)
{
    struct tlog_ground *ground = topic->head.ground;
    int r = topic_remove_once(topic, discard);
    if (tlog_spare_use(ground, r)) {
        r = topic_remove_once(topic, discard);
        tlog_spare_keep(ground);
    }
    return r;
}

int tlog_partition_remove(struct tlog_partition *partition, bool discard)
{
    struct tlog_ground *ground = partition->ground;
    int r = partition_remove_once(partition, discard);
    if (tlog_spare_use(ground, r)) {
        r = partition_remove_once(partition, discard);
        tlog_spare_keep(ground);
    }
    return r;
}

int tlog_topic_rename(struct tlog_topic *topic, const char *name)
{
    struct tlog_store *store = tlog_store_of(topic->head.ground);
    char from[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES];
    int r = tlog_topic_check_name(name);
    if (r == 0 && (store->ground.options.read_only || atomic_load(&store->ground.failed)))
        r = -EROFS;
    if (r < 0)
        return r;
    pthread_mutex_lock(&store->ground.admin_lock);
    pthread_mutex_lock(&topic->head.lock);
    lock_partitions(topic, true);
    tlog_topic_dir(&topic->head, from);
    snprintf(to, sizeof to, "%s/topics/%s", store->ground.path, name);
    r = topic->deleted                ? -ESTALE
        : tlog_table_has(store, name) ? -EEXIST
                                      : store->ground.io->rename(store->ground.io, from, to);
    if (r == 0) {
        snprintf(from, sizeof from, "%s/topics", store->ground.path);
        tlog_table_rename(store, topic, name);
        if (store->ground.io->sync_dir(store->ground.io, from) < 0)
            atomic_store(&topic->head.unlisted, true); /* the next fsync tries again */
    }
    lock_partitions(topic, false);
    pthread_mutex_unlock(&topic->head.lock);
    pthread_mutex_unlock(&store->ground.admin_lock);
    return r;
}
