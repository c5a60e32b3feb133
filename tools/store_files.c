/* Offline: a store directory, through the log library. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/store.h"

static int files_topics(struct ctl_store *store, char ***out)
{
    struct tlog_topic **topics;
    size_t count;
    int result = tlog_store_topics(store->log, &topics, &count);

    if (result < 0)
        return result;
    char **names = calloc(count + 1, sizeof(*names));
    for (size_t i = 0; names && i < count; i++) {
        char name[256];
        tlog_topic_name(topics[i], name);
        if (!(names[i] = strdup(name)))
            break;
    }
    tlog_topics_free(topics, count);
    if (!names || (count > 0 && !names[count - 1])) {
        ctl_names_free(names);
        return -ENOMEM;
    }
    *out = names;
    return 0;
}

static int get_topic(struct ctl_store *store, const char *name, struct tlog_topic **out)
{
    *out = tlog_topic_get(store->log, name);
    return *out ? 0 : ctl_error(&store->error, -ENOENT, "no such topic");
}

static int get_partition(struct ctl_store *store, const char *name, unsigned number, struct tlog_partition **out)
{
    struct tlog_topic *topic;
    int result = get_topic(store, name, &topic);

    if (result < 0)
        return result;
    *out = tlog_partition_get(topic, number);
    tlog_topic_unref(topic);
    return *out ? 0 : ctl_error(&store->error, -ENOENT, "no such partition");
}

static int files_partitions(struct ctl_store *store, const char *name, struct ctl_summary **out, size_t *count)
{
    struct tlog_topic *topic;
    int result = get_topic(store, name, &topic);

    if (result < 0)
        return result;
    unsigned limit = tlog_topic_partitions(topic);
    struct ctl_summary *all = calloc(limit > 0 ? limit : 1, sizeof(*all));
    *count = 0;
    for (unsigned number = 0; all && number < limit; number++) {
        struct tlog_partition *partition = tlog_partition_get(topic, number);
        struct tlog_bounds bounds;
        if (!partition)
            continue;
        tlog_partition_bounds(partition, &bounds);
        tlog_partition_unref(partition);
        all[(*count)++] = (struct ctl_summary){.number = number,
                                               .start = bounds.start,
                                               .end = bounds.end,
                                               .committed = bounds.committed,
                                               .records = bounds.end_seq - bounds.start_seq};
    }
    tlog_topic_unref(topic);
    *out = all;
    return all ? 0 : -ENOMEM;
}

static int files_create(struct ctl_store *store, const char *topic, unsigned partitions)
{
    mode_t mask = umask(0);
    struct tlog_attr attr = {.mode = 0777 & ~mask, .uid = geteuid(), .gid = getegid()};

    umask(mask);
    int result = tlog_topic_create(store->log, topic, partitions, &attr, NULL, &store->error);
    return result == -EEXIST ? ctl_error(&store->error, result, "there is such a topic already") : result;
}

static int files_add(struct ctl_store *store, const char *name, unsigned number)
{
    struct tlog_topic *topic;
    int result = get_topic(store, name, &topic);

    if (result < 0)
        return result;
    result = tlog_topic_add_partition(topic, number, NULL);
    if (result == -EEXIST)
        ctl_error(&store->error, result, "there is such a partition already");
    if (result == -EINVAL)
        ctl_error(&store->error, result, "partitions.max does not allow it");
    tlog_topic_unref(topic);
    return result;
}

static int files_remove(struct ctl_store *store, const char *name, int number)
{
    struct tlog_topic *topic;
    struct tlog_partition *partition;
    int result;

    if (number < 0) {
        if ((result = get_topic(store, name, &topic)) < 0)
            return result;
        result = tlog_topic_remove(topic, true);
        tlog_topic_unref(topic);
        return result;
    }
    if ((result = get_partition(store, name, (unsigned)number, &partition)) < 0)
        return result;
    result = tlog_partition_remove(partition, true);
    tlog_partition_unref(partition);
    return result;
}

static int files_trim(struct ctl_store *store, const char *name, unsigned number, uint64_t pos, uint64_t *start)
{
    struct tlog_partition *partition;
    int result = get_partition(store, name, number, &partition);

    if (result < 0)
        return result;
    result = tlog_partition_trim(partition, pos, start);
    tlog_partition_unref(partition);
    return result;
}

static int files_disk_bytes(struct ctl_store *store, const char *name, unsigned number, uint64_t *out)
{
    struct tlog_bounds bounds;
    int result = store->backend->bounds(store, name, number, &bounds);

    *out = result < 0 ? 0 : bounds.disk_bytes;
    return result;
}

static int files_trash(struct ctl_store *store, struct tlog_trash_item **out, size_t *count)
{
    return tlog_store_trash(store->log, out, count);
}

static int files_restore(struct ctl_store *store, const char *item)
{
    return tlog_store_restore(store->log, item, &store->error);
}

static int files_discard(struct ctl_store *store, const char *item)
{
    return tlog_store_discard(store->log, item, &store->error);
}

static int files_config_text(struct ctl_store *store, const char *name, char **out)
{
    struct tlog_topic *topic;
    int result;

    if (!name)
        return tlog_store_config_text(store->log, out);
    if ((result = get_topic(store, name, &topic)) < 0)
        return result;
    result = tlog_topic_config_text(topic, out);
    tlog_topic_unref(topic);
    return result;
}

static int files_config_set(struct ctl_store *store, const char *name, const char *text, bool replace)
{
    struct tlog_topic *topic;
    int result;

    if (!name)
        return tlog_store_config_set(store->log, text, replace, &store->error);
    if ((result = get_topic(store, name, &topic)) < 0)
        return result;
    result = tlog_topic_config_set(topic, text, replace, &store->error);
    tlog_topic_unref(topic);
    return result;
}

static int files_bounds(struct ctl_store *store, const char *topic, unsigned number, struct tlog_bounds *out)
{
    struct tlog_partition *partition;
    int result = get_partition(store, topic, number, &partition);

    if (result < 0)
        return result;
    tlog_partition_bounds(partition, out);
    tlog_partition_unref(partition);
    return 0;
}

static int files_open(struct ctl_store *store, const char *topic, unsigned number, bool write,
                      struct ctl_partition *out)
{
    (void)write;
    *out = (struct ctl_partition){.store = store, .fd = -1};
    return get_partition(store, topic, number, &out->log);
}

static int files_extent(struct ctl_partition *partition, uint64_t *start, uint64_t *committed)
{
    struct tlog_bounds bounds;

    tlog_partition_bounds(partition->log, &bounds);
    *start = bounds.start;
    *committed = bounds.committed;
    return 0;
}

static ssize_t files_read(struct ctl_partition *partition, uint64_t pos, void *to, size_t bytes)
{
    return tlog_partition_read(partition->log, pos, to, bytes);
}

static int files_find(struct ctl_partition *partition, enum tfs_find kind, int64_t value, uint64_t *pos, uint64_t *seq)
{
    struct tlog_bounds bounds;
    int result;

    tlog_partition_bounds(partition->log, &bounds);
    if (kind == TFS_FIND_TIME)
        return tlog_partition_find_time(partition->log, value, pos, seq);
    uint64_t least = kind == TFS_FIND_SEQ ? bounds.start_seq : bounds.start;
    uint64_t wanted = (uint64_t)value < least ? least : (uint64_t)value;
    if (kind == TFS_FIND_SEQ)
        result = tlog_partition_find_seq(partition->log, wanted, pos, seq);
    else
        result = tlog_partition_find_pos(partition->log, wanted, pos, seq);
    return result;
}

static ssize_t files_append(struct ctl_partition *partition, const void *data, size_t length, uint32_t records)
{
    int result = tlog_partition_append(partition->log, data, length, records);

    return result < 0 ? result : (ssize_t)length;
}

static int files_sync(struct ctl_partition *partition)
{
    return tlog_partition_sync_wait(partition->log);
}

static int files_close_partition(struct ctl_partition *partition)
{
    tlog_partition_unref(partition->log);
    return 0;
}

static int files_close(struct ctl_store *store)
{
    return tlog_store_close(store->log, &store->error);
}

const struct ctl_backend ctl_files = {
    .topics = files_topics,
    .partitions = files_partitions,
    .create = files_create,
    .add = files_add,
    .remove = files_remove,
    .trim = files_trim,
    .disk_bytes = files_disk_bytes,
    .trash = files_trash,
    .restore = files_restore,
    .discard = files_discard,
    .config_text = files_config_text,
    .config_set = files_config_set,
    .bounds = files_bounds,
    .open = files_open,
    .extent = files_extent,
    .read = files_read,
    .find = files_find,
    .append = files_append,
    .sync = files_sync,
    .close_partition = files_close_partition,
    .close = files_close,
};
