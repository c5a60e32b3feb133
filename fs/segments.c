/* The tree `.segments` in a topic's directory: a directory a partition, and in it the sealed segments as the files that
 * they are in the store, to be read with zstdcat. To remove the oldest one is to trim the partition to its end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon.h"
#include "name.h"
#include "ops.h"
#include "tree.h"

static const struct tfs_tree partition_tree, file_tree;

static void stat_directory(const struct tfs_node *node, int64_t mtime_ns, struct stat *out)
{
    struct tlog_attr attr;

    tlog_topic_attr(node->topic, &attr);
    tfs_stat_owner(out, S_IFDIR, &attr);
    tfs_stat_times(out, mtime_ns, mtime_ns);
}

/* ---- .segments ---- */

static int stat_top(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    (void)fs;
    stat_directory(node, tlog_topic_mtime_ns(node->topic), out);
    return 0;
}

static int find_partition(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out)
{
    struct tlog_partition *partition = NULL;
    unsigned number;

    (void)caller;
    if (tfs_name_parse(name, &number) == TFS_NAME_PARTITION)
        partition = tlog_partition_get(node->topic, number);
    if (partition == NULL)
        return -ENOENT;
    return tfs_node_find_in_tree(fs, node, &partition_tree, tfs_tree_ino(node, name), partition, out);
}

static int list_partitions(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to)
{
    unsigned count = tlog_topic_partitions(node->topic);
    int result = 0;

    (void)fs;
    for (unsigned number = 0; number < count && result == 0; number++) {
        struct tlog_partition *partition = tlog_partition_get(node->topic, number);
        char name[16];
        if (partition == NULL)
            continue;
        tlog_partition_unref(partition);
        snprintf(name, sizeof name, "%u", number);
        result = tfs_listing_add(to, name, tfs_tree_ino(node, name), S_IFDIR);
    }
    return result;
}

const struct tfs_tree tfs_segments_tree = {
    .directory = true,
    .refusal = EPERM,
    .entry_seconds = TFS_ENTRY_SECONDS,
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_top,
    .same = tfs_tree_same,
    .find = find_partition,
    .list = list_partitions,
};

/* ---- .segments/0: its item is the partition, a reference ---- */

static void drop_partition(struct tfs *fs, void *item)
{
    (void)fs;
    tlog_partition_unref(item);
}

static int stat_partition(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    struct tlog_bounds bounds;

    (void)fs;
    tlog_partition_bounds(node->item, &bounds);
    stat_directory(node, bounds.ctime_ns, out);
    return 0;
}

static char *name_of(const struct tlog_segment_info *segment, char to[32])
{
    snprintf(to, 32, "%020" PRIu64 ".zst", segment->pos);
    return to;
}

/* The sealed segment of that name; all of the partition's are in *all, to be freed. */
static int find_segment(struct tlog_partition *partition, const char *name, struct tlog_segment_info **all,
                        struct tlog_segment_info **out)
{
    size_t count;
    int result = tlog_partition_segments(partition, all, &count);
    char own[32];

    if (result != 0)
        return result;
    for (size_t i = 0; i < count; i++)
        if ((*all)[i].sealed && strcmp(name_of(&(*all)[i], own), name) == 0) {
            *out = &(*all)[i];
            return 0;
        }
    free(*all);
    return -ENOENT;
}

static int find_file(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out)
{
    struct tlog_segment_info *all, *segment;
    int result = find_segment(node->item, name, &all, &segment);

    (void)caller;
    if (result != 0)
        return result;
    struct tlog_segment_info *item = malloc(sizeof *item);
    if (item != NULL)
        *item = *segment;
    free(all);
    if (item == NULL)
        return -ENOMEM;
    return tfs_node_find_in_tree(fs, node, &file_tree, tfs_tree_ino(node, name), item, out);
}

static int list_files(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to)
{
    struct tlog_segment_info *all;
    size_t count;
    char name[32];
    int result = tlog_partition_segments(node->item, &all, &count);

    (void)fs;
    if (result != 0)
        return result;
    for (size_t i = 0; i < count && result == 0; i++)
        if (all[i].sealed)
            result = tfs_listing_add(to, name_of(&all[i], name), tfs_tree_ino(node, name), S_IFREG);
    free(all);
    return result;
}

static int trim_file(struct tfs *fs, struct tfs_node *node, const char *name)
{
    struct tlog_segment_info *all, *segment;
    int result = find_segment(node->item, name, &all, &segment);

    if (result != 0)
        return result;
    if (fs->read_only)
        result = -EROFS;
    else
        result = segment == all ? tlog_partition_trim(node->item, segment->end, NULL) : -EBUSY;
    if (result == 0)
        tfs_notify_await_trims(&fs->notify, node->item);
    free(all);
    return result;
}

static const struct tfs_tree partition_tree = {
    .directory = true,
    .refusal = EPERM,
    .entry_seconds = 0.0, /* partitions are deleted and made again */
    .attr_seconds = TFS_FILE_ATTR_SECONDS,
    .stat = stat_partition,
    .same = tfs_tree_same,
    .drop = drop_partition,
    .find = find_file,
    .list = list_files,
    .unlink = trim_file,
};

/* ---- .segments/0/POS.zst: its item is a struct tlog_segment_info of its own ---- */

static bool same_segment(const void *item, const void *found)
{
    const struct tlog_segment_info *have = item, *now = found;

    return have->pos == now->pos && have->file_bytes == now->file_bytes && have->mtime_ns == now->mtime_ns;
}

static void drop_segment(struct tfs *fs, void *item)
{
    (void)fs;
    free(item);
}

static int stat_file(struct tfs *fs, struct tfs_node *node, struct stat *out)
{
    const struct tlog_segment_info *segment = node->item;
    struct tlog_attr attr;

    (void)fs;
    tlog_partition_attr(node->directory->item, &attr);
    attr.mode &= 0444;
    tfs_stat_owner(out, S_IFREG, &attr);
    tfs_stat_times(out, segment->mtime_ns, segment->mtime_ns);
    out->st_size = (off_t)segment->file_bytes;
    out->st_blocks = (out->st_size + 511) / 512;
    return 0;
}

/* A segment that was trimmed since the name was looked up: the kernel looks again, and finds none. */
static int open_file(struct tfs *fs, struct tfs_node *node, void **file)
{
    const struct tlog_segment_info *segment = node->item;
    struct tlog_segment_file *opened;
    int result = tlog_segment_file_open(node->directory->item, segment->pos, &opened);

    (void)fs;
    *file = opened;
    return result == -ENOENT ? -ESTALE : result;
}

static const struct tfs_tree file_tree = {
    .refusal = EPERM,
    .entry_seconds = 0.0, /* a trim takes it away */
    .attr_seconds = TFS_DIR_ATTR_SECONDS,
    .stat = stat_file,
    .same = same_segment,
    .drop = drop_segment,
    .open = open_file,
    .close = tfs_tree_close_file,
    .read = tfs_tree_read_file,
};
