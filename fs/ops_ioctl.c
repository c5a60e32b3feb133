/* ioctl(2): the attributes that lsattr shows, and those of ioctl.h. */
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"
#include "ioctl.h"
#include "ops.h"
#include "release.h"
#include "workers.h"

static void get_flags(fuse_req_t req, const struct tfs_node *node, size_t out_bytes)
{
    long flags = node->part != NULL ? FS_APPEND_FL : 0;
    int narrow = (int)flags;

    /* By its number it takes a long; all programs and most filesystems use an int. */
    if (out_bytes >= sizeof flags)
        fuse_reply_ioctl(req, 0, &flags, sizeof flags);
    else if (out_bytes >= sizeof narrow)
        fuse_reply_ioctl(req, 0, &narrow, sizeof narrow);
    else
        fuse_reply_err(req, EINVAL);
}

static bool in_group(fuse_req_t req, gid_t group)
{
    if (fuse_req_ctx(req)->gid == group)
        return true;
    int count = fuse_req_getgroups(req, 0, NULL);
    gid_t *groups = count > 0 ? calloc((size_t)count, sizeof *groups) : NULL;
    bool found = false;

    if (groups == NULL)
        return false;
    int filled = fuse_req_getgroups(req, count, groups);
    for (int i = 0; i < (filled < count ? filled : count) && !found; i++)
        found = groups[i] == group;
    free(groups);
    return found;
}

/* Directories are opened for reading, so the kernel has not asked whether the caller may change this one. */
static bool may_administer(fuse_req_t req, const struct tfs_node *directory)
{
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    struct tlog_attr attr;

    if (directory->topic != NULL)
        tlog_topic_attr(directory->topic, &attr);
    else
        tlog_store_attr(tfs_of(req)->store, &attr);
    if (caller->uid == 0)
        return true;
    if (caller->uid == attr.uid)
        return (attr.mode & 0200) != 0;
    return (attr.mode & (in_group(req, attr.gid) ? 0020u : 0002u)) != 0;
}

static int delete (struct tfs *fs, struct tlog_topic *topic, int32_t number)
{
    struct tfs_node *node;

    tfs_worker_may_block();
    for (unsigned i = 0; i < tlog_topic_partitions(topic); i++)
        if ((number == -1 || (unsigned)number == i) && tfs_node_find_partition(fs, topic, i, &node) == 0) {
            tfs_handles_end_lines(fs, node->part);
            tfs_node_unref(fs, node, 1);
        }
    if (number == -1)
        return tlog_topic_remove(topic, true);
    struct tlog_partition *partition = number >= 0 ? tlog_partition_get(topic, (unsigned)number) : NULL;
    if (partition == NULL)
        return -ENOENT;
    int result = tlog_partition_remove(partition, true);
    tlog_partition_unref(partition);
    return result;
}

/* Whether what changes a directory of that kind, with that much given, can be done; otherwise it has been answered. */
static bool may_change(fuse_req_t req, struct tfs_node *node, enum tfs_kind kind, size_t in_bytes, size_t wanted_bytes)
{
    int error = node->kind != kind           ? ENOTTY
                : in_bytes < wanted_bytes    ? EINVAL
                : tfs_of(req)->read_only     ? EROFS
                : !may_administer(req, node) ? EACCES
                                             : 0;

    if (error != 0)
        fuse_reply_err(req, error);
    return error == 0;
}

static void delete_asked(fuse_req_t req, struct tfs_node *node, const void *in, size_t in_bytes)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_ioctl_delete asked;

    if (!may_change(req, node, TFS_TOPIC, in_bytes, sizeof asked))
        return;
    memcpy(&asked, in, sizeof asked);
    char topic[256], partition[16];
    tlog_topic_name(node->topic, topic);
    snprintf(partition, sizeof partition, "%" PRId32, asked.partition);
    int result = delete (fs, node->topic, asked.partition);
    if (result != 0) {
        fuse_reply_err(req, -result);
        return;
    }
    if (asked.partition == -1)
        tfs_notify_gone(&fs->notify, FUSE_ROOT_ID, topic);
    else
        tfs_notify_gone(&fs->notify, tfs_node_id(fs, node), partition);
    tfs_notify_await_gone(&fs->notify);
    fuse_reply_ioctl(req, 0, NULL, 0);
}

static void trim_asked(fuse_req_t req, struct tfs_node *node, const void *in, size_t in_bytes, size_t out_bytes)
{
    struct tfs_ioctl_trim asked;
    struct tlog_partition *partition = NULL;

    if (!may_change(req, node, TFS_TOPIC, in_bytes < out_bytes ? in_bytes : out_bytes, sizeof asked))
        return;
    memcpy(&asked, in, sizeof asked);
    if (asked.zero != 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (asked.partition >= 0)
        partition = tlog_partition_get(node->topic, (unsigned)asked.partition);
    if (partition == NULL) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    tfs_worker_may_block();
    int result = tlog_partition_trim(partition, asked.pos, &asked.start);
    if (result == 0)
        tfs_notify_await_trims(&tfs_of(req)->notify, partition);
    tlog_partition_unref(partition);
    if (result != 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_ioctl(req, 0, &asked, sizeof asked);
}

static void trash_asked(fuse_req_t req, struct tfs_node *node, unsigned command, const void *in, size_t in_bytes)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_ioctl_trash asked;

    if (!may_change(req, node, TFS_ROOT, in_bytes, sizeof asked))
        return;
    memcpy(&asked, in, sizeof asked);
    if (memchr(asked.item, '\0', sizeof asked.item) == NULL || asked.item[0] == '\0') {
        fuse_reply_err(req, EINVAL);
        return;
    }
    tfs_worker_may_block();
    int result = command == TFS_IOC_RESTORE ? tlog_store_restore(fs->store, asked.item, NULL)
                                            : tlog_store_discard(fs->store, asked.item, NULL);
    if (result != 0) {
        fuse_reply_err(req, -result);
        return;
    }
    tfs_trash_left(&fs->trash, asked.item);
    fuse_reply_ioctl(req, 0, NULL, 0);
}

static int find(struct tlog_partition *partition, struct tfs_ioctl_find *asked)
{
    if (asked->zero != 0 || (asked->kind != TFS_FIND_TIME && asked->value < 0))
        return -EINVAL;
    switch (asked->kind) {
    case TFS_FIND_SEQ:
        return tlog_partition_find_seq(partition, (uint64_t)asked->value, &asked->pos, &asked->seq);
    case TFS_FIND_POS:
        return tlog_partition_find_pos(partition, (uint64_t)asked->value, &asked->pos, &asked->seq);
    case TFS_FIND_TIME:
        return tlog_partition_find_time(partition, asked->value, &asked->pos, &asked->seq);
    default:
        return -EINVAL;
    }
}

static void find_asked(fuse_req_t req, struct tfs_node *node, const struct tfs_handle *handle, const void *in,
                       size_t in_bytes, size_t out_bytes)
{
    struct tfs_ioctl_find asked;

    if (node->part == NULL || in_bytes < sizeof asked || out_bytes < sizeof asked) {
        fuse_reply_err(req, node->part == NULL ? ENOTTY : EINVAL);
        return;
    }
    if (!handle->readable) {
        fuse_reply_err(req, EBADF);
        return;
    }
    memcpy(&asked, in, sizeof asked);
    tfs_release_await(node->part);
    int result = find(node->part->partition, &asked);
    if (result != 0)
        fuse_reply_err(req, -result);
    else
        fuse_reply_ioctl(req, 0, &asked, sizeof asked);
}

void tfs_op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg, struct fuse_file_info *fi,
                  unsigned flags, const void *in, size_t in_bytes, size_t out_bytes)
{
    struct tfs_node *node = tfs_node_get(tfs_of(req), ino);

    (void)arg, (void)flags;
    if (command == FS_IOC_GETFLAGS || command == FS_IOC32_GETFLAGS)
        get_flags(req, node, out_bytes);
    else if (command == FS_IOC_SETFLAGS || command == FS_IOC32_SETFLAGS)
        fuse_reply_err(req, EPERM);
    else if (command == TFS_IOC_DELETE)
        delete_asked(req, node, in, in_bytes);
    else if (command == TFS_IOC_TRIM)
        trim_asked(req, node, in, in_bytes, out_bytes);
    else if (command == TFS_IOC_RESTORE || command == TFS_IOC_DISCARD)
        trash_asked(req, node, command, in, in_bytes);
    else if (command == TFS_IOC_FIND)
        find_asked(req, node, tfs_handle_of(fi->fh), in, in_bytes, out_bytes);
    else
        fuse_reply_err(req, ENOTTY);
}
