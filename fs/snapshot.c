/* The tree `.at`: `now`, or a time, and below it the topics and partitions as they were at that instant (instant.h).
 *
 * Files show the modes and owners that the live ones have, so that a backup made from here restores them; what would
 * change anything is answered EROFS. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon.h"
#include "instant.h"
#include "name.h"
#include "ops.h"
#include "reply.h"
#include "tree.h"

/* Below an instant nothing changes. */
#define FOREVER_SECONDS 3600.0

static const struct tfs_tree instant_tree, topic_tree, file_tree;

static struct tfs_instant *instant_of(const struct tfs_node *node)
{
    while (node->tree != &instant_tree)
        node = node->directory;
    return node->item;
}

/* ---- opened and closed, any of them ---- */

static int open_below(struct tfs *fs, struct tfs_node *node, void **file)
{
    (void)file;
    tfs_instant_use(fs, instant_of(node), 1);
    return 0;
}

static void close_below(struct tfs *fs, struct tfs_node *node, void *file)
{
    (void)file;
    tfs_instant_use(fs, instant_of(node), -1);
}

/* ---- .at ---- */

static int stat_root(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    struct tlog_attr attr;
    int64_t mtime_ns = tlog_store_mtime_ns(fs->store);

    (void)node;
    tlog_store_attr(fs->store, &attr);
    tfs_stat_owner(out, S_IFDIR, &attr);
    tfs_stat_times(out, mtime_ns, mtime_ns);
    return 0;
}

static int find_instant(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out)
{
    struct tfs_instant *instant;
    int result = tfs_instant_find(fs, name, caller, &instant);

    if (result != 0)
        return result;
    return tfs_node_find_in_tree(fs, node, &instant_tree, tfs_tree_ino(node, name), instant, out);
}

static int list_instants(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to)
{
    (void)fs;
    return tfs_listing_add(to, "now", tfs_tree_ino(node, "now"), S_IFDIR);
}

const struct tfs_tree tfs_at_tree = {
    .directory = true,
    .refusal = EROFS,
    .entry_seconds = TFS_ENTRY_SECONDS,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_root,
    .same = tfs_tree_same,
    .find = find_instant,
    .list = list_instants,
};

/* ---- .at/now: the topics ---- */

static void drop_instant(struct tfs *fs, void *item)
{
    tfs_instant_unref(fs, item);
}

static int find_topic(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out)
{
    struct tfs_instant *instant = node->item;
    size_t from = 0, to = instant->topic_count;

    (void)caller;
    tfs_instant_use(fs, instant, 0);
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = strcmp(name, instant->topics[middle].name);
        if (order == 0)
            return tfs_node_find_in_tree(fs, node, &topic_tree, tfs_tree_ino(node, name), &instant->topics[middle],
                                         out);
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return -ENOENT;
}

static int list_topics(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to)
{
    const struct tfs_instant *instant = node->item;
    int result = 0;

    (void)fs;
    for (size_t i = 0; i < instant->topic_count && result == 0; i++)
        result = tfs_listing_add(to, instant->topics[i].name, tfs_tree_ino(node, instant->topics[i].name), S_IFDIR);
    return result;
}

/* The name leads to another instant when another process asks, or the same one later: it is asked for each time. */
static const struct tfs_tree instant_tree = {
    .directory = true,
    .refusal = EROFS,
    .entry_seconds = 0.0,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_root,
    .same = tfs_tree_same,
    .drop = drop_instant,
    .open = open_below,
    .close = close_below,
    .find = find_topic,
    .list = list_topics,
};

/* ---- .at/now/orders: the partitions ---- */

static int stat_topic(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    const struct tfs_instant_topic *topic = node->item;
    struct tlog_attr attr;
    int64_t mtime_ns = tlog_topic_mtime_ns(tlog_partition_topic(topic->files->partition));

    (void)fs;
    tlog_topic_attr(tlog_partition_topic(topic->files->partition), &attr);
    tfs_stat_owner(out, S_IFDIR, &attr);
    tfs_stat_times(out, mtime_ns, mtime_ns);
    return 0;
}

static unsigned number_of(const struct tfs_instant_file *file)
{
    return tlog_partition_number(file->partition);
}

static char *name_of(const struct tfs_instant_file *file, char to[16])
{
    snprintf(to, 16, "%u", number_of(file));
    return to;
}

static int find_partition(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out)
{
    const struct tfs_instant_topic *topic = node->item;
    unsigned number;
    size_t from = 0, to = topic->count;

    (void)caller;
    tfs_instant_use(fs, instant_of(node), 0);
    if (tfs_name_parse(name, &number) != TFS_NAME_PARTITION)
        return -ENOENT;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        struct tfs_instant_file *file = &topic->files[middle];
        if (number == number_of(file))
            return tfs_node_find_in_tree(fs, node, &file_tree, tfs_tree_ino(node, name), file, out);
        if (number < number_of(file))
            to = middle;
        else
            from = middle + 1;
    }
    return -ENOENT;
}

static int list_partitions(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to)
{
    const struct tfs_instant_topic *topic = node->item;
    char name[16];
    int result = 0;

    (void)fs;
    for (size_t i = 0; i < topic->count && result == 0; i++)
        result = tfs_listing_add(to, name_of(&topic->files[i], name), tfs_tree_ino(node, name), S_IFREG);
    return result;
}

static const struct tfs_tree topic_tree = {
    .directory = true,
    .refusal = EROFS,
    .entry_seconds = FOREVER_SECONDS,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_topic,
    .same = tfs_tree_same,
    .open = open_below,
    .close = close_below,
    .find = find_partition,
    .list = list_partitions,
};

/* ---- .at/now/orders/0 ---- */

struct open_file {
    _Atomic uint64_t read_end; /* where the last read ended: a hint */
};

static int stat_file(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    const struct tfs_instant_file *file = node->item;
    struct tlog_attr attr;

    (void)fs;
    tlog_partition_attr(file->partition, &attr);
    tfs_stat_owner(out, S_IFREG, &attr);
    tfs_stat_times(out, file->mtime_ns, file->mtime_ns);
    out->st_size = (off_t)(file->end - file->start);
    out->st_blocks = (out->st_size + 511) / 512;
    return 0;
}

static int open_file(struct tfs *fs, struct tfs_node *node, void **file)
{
    *file = calloc(1, sizeof(struct open_file));
    return *file != NULL ? open_below(fs, node, file) : -ENOMEM;
}

static void close_file(struct tfs *fs, struct tfs_node *node, void *file)
{
    close_below(fs, node, file);
    free(file);
}

static void read_file(struct fuse_req *req, struct tfs_node *node, void *file, size_t bytes, uint64_t offset)
{
    const struct tfs_instant_file *own = node->item;
    struct open_file *opened = file;
    uint64_t size = own->end - own->start;

    if (offset >= size) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    if (bytes > size - offset)
        bytes = (size_t)(size - offset);
    bool sequential = atomic_exchange_explicit(&opened->read_end, offset + bytes, memory_order_relaxed) == offset;
    tfs_reply_log(req, own->partition, own->start + offset, bytes, sequential, TFS_REPLY_WHOLE);
}

static const struct tfs_tree file_tree = {
    .refusal = EROFS,
    .entry_seconds = FOREVER_SECONDS,
    .attr_seconds = TFS_DIR_ATTR_SECONDS, /* modes are the live ones */
    .stat = stat_file,
    .same = tfs_tree_same,
    .open = open_file,
    .close = close_file,
    .read = read_file,
};
