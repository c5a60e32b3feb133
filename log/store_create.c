/* Creating topics. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log/error.h"
#include "log/quota.h"
#include "log/store.h"

/* Makes the directory with all its files. */
static int make_topic(struct tlog_topic *topic, unsigned partitions)
{
    struct tlog_store *store = tlog_store_of(topic->head.ground);
    char dir[TLOG_NAME_BYTES];
    tlog_topic_dir(&topic->head, dir);
    int r = store->ground.io->mkdir(store->ground.io, dir);
    if (r == 0)
        r = tlog_topic_write_conf(topic, dir, topic->config_text);
    if (r == 0)
        r = tlog_attr_write(store->ground.io, dir, &topic->head.attr, 0, UINT64_MAX);
    for (unsigned i = 0; r == 0 && i < partitions; i++)
        r = tlog_topic_make_partition(topic, i, NULL);
    if (r == 0)
        r = tlog_table_add(store, topic);
    if (r < 0 && r != -EEXIST) {
        tlog_tree_remove(store->ground.io, dir);
        snprintf(dir, sizeof dir, "%s/topics", store->ground.path);
        (void)store->ground.io->sync_dir(store->ground.io, dir); /* a power cut must not bring it back */
    }
    return r;
}

int tlog_topic_create(struct tlog_store *store, const char *name, unsigned partitions, const struct tlog_attr *attr,
                      struct tlog_topic **out, struct tlog_error *error)
{
    int r = tlog_topic_check_name(name);
    if (r == 0 && (store->ground.options.read_only || atomic_load(&store->ground.failed)))
        r = -EROFS;
    if (r < 0) {
        tlog_error_set(error, "%s: %s", name, r == -EINVAL ? "not a topic name" : strerror(-r));
        return r;
    }
    struct tlog_topic *topic = tlog_topic_new(&store->ground, name);
    if (!topic)
        return -ENOMEM;
    store->ground.io->random(store->ground.io, topic->head.id, sizeof topic->head.id);
    atomic_store(&topic->head.unlisted, true);
    pthread_mutex_lock(&store->ground.admin_lock);
    topic->head.attr = attr ? *attr : store->ground.attr;
    topic->config_text = strdup("");
    tlog_topic_settle(topic);
    if (partitions == 0)
        partitions = (unsigned)tlog_topic_value(topic, TLOG_PARTITIONS);
    r = tlog_table_has(store, name) ? -EEXIST : !topic->config_text ? -ENOMEM : 0;
    if (r == 0 && (int64_t)partitions > tlog_topic_value(topic, TLOG_PARTITIONS_MAX))
        r = -EINVAL;
    if (r == 0)
        r = tlog_room_for(&store->ground, partitions);
    if (r == 0)
        r = make_topic(topic, partitions);
    if (r == 0 && out) {
        atomic_fetch_add(&topic->head.refs, 1);
        *out = topic;
    }
    pthread_mutex_unlock(&store->ground.admin_lock);
    if (r < 0) {
        tlog_error_set(error, "%s: %s", name, r == -EINVAL ? "more partitions than partitions.max" : strerror(-r));
        tlog_topic_forget(topic);
        tlog_topic_unref(topic);
    }
    return r;
}
