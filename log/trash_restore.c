/* Restoring from the trash: the directory is moved back and recovered as a copy is, by its own chains alone.
 *
 * No position is ever used twice. A partition goes on at its old end, which its topic remembers. Where a partition of
 * its number has been made since and got records, the remembered end is past that of the item, and the item cannot come
 * back.
 *
 * How it fails. Once it is recovered everything is synced and the checkpoint is written, then `origin` is removed. A
 * crash before that: the item is in its place or in the trash, whole; `origin` says from where on its segments count
 * and that they need no earlier ones (recover_start.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"
#include "log/recover.h"
#include "log/trash.h"

struct restoring {
    struct tlog_store *store;
    const char *item;
    struct tlog_origin origin;
    char from[TLOG_NAME_BYTES], to[TLOG_NAME_BYTES];
    struct tlog_error *error;
};

static int refuse(const struct restoring *s, int error, const char *why)
{
    tlog_error_set(s->error, "%s: %s", s->item, why);
    return error;
}

/* Moves the directory from one place to the other, durably, with the parents' names as they are now. */
static int move(const struct tlog_io *io, const char *from, const char *to)
{
    char dir[TLOG_NAME_BYTES];
    int r = io->rename(io, from, to);
    if (r < 0)
        return r;
    snprintf(dir, sizeof dir, "%s", to);
    *strrchr(dir, '/') = 0;
    r = io->sync_dir(io, dir);
    snprintf(dir, sizeof dir, "%s", from);
    *strrchr(dir, '/') = 0;
    if (r == 0)
        r = io->sync_dir(io, dir);
    if (r < 0)
        (void)io->rename(io, to, from);
    return r;
}

static int move_back(const struct restoring *s, int error)
{
    if (s->store->ground.io->rename(s->store->ground.io, s->to, s->from) < 0)
        tlog_ground_note(&s->store->ground, "%s: could not be moved back to the trash after a restore failed", s->item);
    return error;
}

static int restore_topic(struct restoring *s)
{
    struct tlog_recover recover = {.store = s->store, .copied = true};
    struct tlog_recovery counted = s->store->ground.recovery;
    snprintf(s->to, sizeof s->to, "%s/topics/%s", s->store->ground.path, s->origin.topic);
    if (tlog_table_has(s->store, s->origin.topic))
        return refuse(s, -EEXIST, "a topic of that name is there");
    int r = move(s->store->ground.io, s->from, s->to);
    if (r == 0 && (r = tlog_recover_topic(&recover, s->origin.topic, s->error)) < 0)
        r = move_back(s, r);
    s->store->ground.recovery = counted; /* tells of the start alone */
    return r;
}

/* With the topic's lock. */
static int restore_into(struct restoring *s, struct tlog_topic *topic)
{
    struct tlog_recover recover = {.store = s->store, .copied = true};
    struct tlog_recovery counted = s->store->ground.recovery;
    unsigned number = (unsigned)s->origin.partition;
    tlog_topic_dir(&topic->head, s->to);
    size_t length = strlen(s->to);
    snprintf(s->to + length, sizeof s->to - length, "/%u", number);
    if (number < topic->partition_count && topic->partitions[number])
        return refuse(s, -EEXIST, "a partition of that number is there");
    int r = move(s->store->ground.io, s->from, s->to);
    if (r < 0)
        return r;
    r = tlog_recover_add_partition(&recover, topic, number, s->error);
    s->store->ground.recovery = counted;
    if (r < 0)
        return move_back(s, r);
    struct tlog_partition *p = topic->partitions[number];
    pthread_mutex_lock(&p->lock);
    bool used = number < topic->ends_count && p->end < topic->ends[number].pos;
    if (used)
        tlog_partition_gone(p, s->from);
    pthread_mutex_unlock(&p->lock);
    if (used) {
        topic->partitions[number] = NULL;
        while (topic->partition_count > 0 && !topic->partitions[topic->partition_count - 1])
            topic->partition_count--;
        tlog_partition_put(p);
        return move_back(s, refuse(s, -EEXIST, "records were appended to a partition of that number since"));
    }
    topic->mtime_ns = tlog_ground_time_ns(&s->store->ground);
    return 0;
}

static int restore_partition(struct restoring *s)
{
    struct tlog_topic *topic =
        s->origin.has_id ? tlog_topic_by_id(s->store, s->origin.topic_id) : tlog_topic_get(s->store, s->origin.topic);
    if (!topic && tlog_table_has(s->store, s->origin.topic))
        return refuse(s, -EBADMSG, "its topic was made anew since");
    if (!topic)
        return refuse(s, -ENOENT, "its topic is not there");
    pthread_mutex_lock(&topic->head.lock);
    int r = restore_into(s, topic);
    pthread_mutex_unlock(&topic->head.lock);
    tlog_topic_unref(topic);
    return r;
}

int tlog_store_restore(struct tlog_store *store, const char *item, struct tlog_error *error)
{
    struct restoring s = {.store = store, .item = item, .error = error};
    char origin[TLOG_NAME_BYTES];
    if (error)
        error->text[0] = 0;
    if (store->ground.options.read_only || atomic_load(&store->ground.failed))
        return refuse(&s, -EROFS, strerror(EROFS));
    if (!tlog_trash_is_item(item))
        return refuse(&s, -ENOENT, "not in the trash");
    pthread_mutex_lock(&store->ground.admin_lock);
    snprintf(s.from, sizeof s.from, "%s/trash/%s", store->ground.path, item);
    int r = tlog_origin_read(store, item, &s.origin);
    if (r < 0)
        r = refuse(&s, r, r == -ENOENT ? "not in the trash" : "what it was cannot be told");
    else
        r = s.origin.partition < 0 ? restore_topic(&s) : restore_partition(&s);
    pthread_mutex_unlock(&store->ground.admin_lock);
    if (r < 0) {
        if (error && error->text[0] == 0)
            refuse(&s, r, strerror(-r));
        return r;
    }
    if (tlog_upkeep_flush_all(store) < 0) /* it is restored; a start reads more, and origin tells it what it needs */
        return 0;
    if (snprintf(origin, sizeof origin, "%s/origin", s.to) < (int)sizeof origin)
        (void)store->ground.io->unlink(store->ground.io, origin);
    return 0;
}
