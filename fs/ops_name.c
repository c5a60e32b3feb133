/* Names: looking them up, making, removing and changing them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "handle.h"
#include "name.h"
#include "ops.h"
#include "virtual.h"
#include "workers.h"

enum { TOPIC_NAME_MAX = 249 };

static int find_in_root(struct tfs *fs, const char *name, struct tfs_node **out)
{
    enum tfs_virtual which;

    if (tfs_virtual_named(name, TFS_ROOT, &which))
        return tfs_node_find_virtual(fs, &fs->nodes.root, which, out);
    if (strlen(name) > TOPIC_NAME_MAX)
        return -ENAMETOOLONG;
    return tfs_node_find_topic(fs, name, out);
}

static int find_in_topic(struct tfs *fs, struct tfs_node *directory, const char *name, struct tfs_node **out)
{
    enum tfs_virtual which;
    unsigned number;

    switch (tfs_name_parse(name, &number)) {
    case TFS_NAME_PARTITION:
        return tfs_node_find_partition(fs, directory->topic, number, out);
    case TFS_NAME_DOOR:
        return tfs_node_make_door(fs, directory->topic, number, out);
    case TFS_NAME_OTHER:
        break;
    }
    if (tfs_virtual_named(name, TFS_TOPIC, &which))
        return tfs_node_find_virtual(fs, directory, which, out);
    return -ENOENT;
}

static int find_name(struct tfs *fs, struct tfs_node *directory, const char *name, struct tfs_node **out)
{
    if (directory->kind == TFS_ROOT)
        return find_in_root(fs, name, out);
    return directory->kind == TFS_TOPIC ? find_in_topic(fs, directory, name, out) : -ENOTDIR;
}

static int fill_entry(struct tfs *fs, struct tfs_node *node, struct fuse_entry_param *entry)
{
    bool directory = node->kind == TFS_TOPIC;

    *entry = (struct fuse_entry_param){
        .ino = tfs_node_id(fs, node),
        .generation = 1,
        /* A door is another one each time. */
        .entry_timeout = node->kind == TFS_DOOR ? 0.0 : TFS_ENTRY_SECONDS,
        .attr_timeout = directory ? TFS_DIR_ATTR_SECONDS : TFS_FILE_ATTR_SECONDS,
    };
    return tfs_node_stat(fs, node, &entry->attr);
}

/* Answers with a node, whose reference becomes the kernel's. */
static void reply_node(fuse_req_t req, struct tfs *fs, struct tfs_node *node)
{
    struct fuse_entry_param entry;
    int result = fill_entry(fs, node, &entry);

    if (result != 0)
        fuse_reply_err(req, -result);
    else if (fuse_reply_entry(req, &entry) == 0)
        return;
    tfs_node_unref(fs, node, 1);
}

void tfs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *node;
    int result = find_name(fs, tfs_node_get(fs, parent), name, &node);

    if (result != 0)
        fuse_reply_err(req, -result);
    else
        reply_node(req, fs, node);
}

void tfs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    struct tfs *fs = tfs_of(req);

    tfs_node_unref(fs, tfs_node_get(fs, ino), lookups);
    fuse_reply_none(req);
}

void tfs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct tfs *fs = tfs_of(req);

    for (size_t i = 0; i < count; i++)
        tfs_node_unref(fs, tfs_node_get(fs, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static struct tlog_attr attr_of_caller(fuse_req_t req, mode_t mode)
{
    const struct fuse_ctx *caller = fuse_req_ctx(req);

    return (struct tlog_attr){.mode = mode & 0777, .uid = caller->uid, .gid = caller->gid};
}

void tfs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct tfs *fs = tfs_of(req);
    struct tlog_attr attr = attr_of_caller(req, mode);
    struct tfs_node *node = NULL;
    int result = -EPERM;

    tfs_worker_may_block();
    if (parent == FUSE_ROOT_ID)
        result = tlog_topic_create(fs->store, name, 0, &attr, NULL, NULL);
    if (result == 0)
        result = tfs_node_find_topic(fs, name, &node);
    if (result != 0)
        fuse_reply_err(req, -result);
    else
        reply_node(req, fs, node);
}

/* The partition of that name, made with all missing ones below it unless it is there. */
static int make_partition(struct tfs *fs, struct tfs_node *directory, const char *name, const struct tlog_attr *attr,
                          bool exclusive, struct tfs_node **out)
{
    unsigned number;

    if (directory->kind != TFS_TOPIC)
        return -EPERM;
    if (tfs_name_parse(name, &number) != TFS_NAME_PARTITION)
        return -EINVAL;
    tfs_worker_may_block();
    int result = tlog_topic_add_partition(directory->topic, number, attr);
    if (result != 0 && (result != -EEXIST || exclusive))
        return result;
    return tfs_node_find_partition(fs, directory->topic, number, out);
}

void tfs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tlog_attr attr = attr_of_caller(req, mode);
    struct fuse_entry_param entry;
    struct tfs_node *node;
    int result = make_partition(fs, tfs_node_get(fs, parent), name, &attr, (fi->flags & O_EXCL) != 0, &node);

    if (result != 0) {
        fuse_reply_err(req, -result);
        return;
    }
    result = fill_entry(fs, node, &entry);
    if (result == 0)
        result = tfs_file_open(fs, node, fi);
    if (result != 0) {
        tfs_node_unref(fs, node, 1);
        fuse_reply_err(req, -result);
    } else if (fuse_reply_create(req, &entry, fi) != 0) {
        /* The caller is gone: neither the lookup nor the open counts. */
        tfs_handle_close(fs, tfs_handle_of(fi->fh));
        tfs_node_unref(fs, node, 1);
    }
}

static int remove_partition(struct tfs *fs, struct tfs_node *directory, const char *name)
{
    struct tfs_node *node;
    int result = find_name(fs, directory, name, &node);

    if (result != 0)
        return result;
    result = -EPERM;
    tfs_worker_may_block();
    if (node->kind == TFS_PARTITION) {
        bool discard = tlog_topic_value(directory->topic, TLOG_DELETE_ENABLE) != 0;
        if (discard)
            tfs_handles_end_lines(fs, node->part);
        result = tlog_partition_remove(node->part->partition, discard);
    }
    tfs_node_unref(fs, node, 1);
    return result;
}

void tfs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct tfs *fs = tfs_of(req);

    fuse_reply_err(req, -remove_partition(fs, tfs_node_get(fs, parent), name));
}

void tfs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct tfs *fs = tfs_of(req);
    struct tlog_topic *topic = parent == FUSE_ROOT_ID ? tlog_topic_get(fs->store, name) : NULL;

    if (topic == NULL) {
        fuse_reply_err(req, parent == FUSE_ROOT_ID ? ENOENT : ENOTDIR);
        return;
    }
    tfs_worker_may_block();
    int result = tlog_topic_remove(topic, false);
    tlog_topic_unref(topic);
    fuse_reply_err(req, -result);
}

static int rename_topic(struct tfs *fs, const char *name, const char *new_name, unsigned flags)
{
    enum tfs_virtual which;
    struct tlog_topic *topic;

    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    if (tfs_virtual_named(name, TFS_ROOT, &which) || tfs_virtual_named(new_name, TFS_ROOT, &which))
        return -EPERM;
    topic = tlog_topic_get(fs->store, name);
    if (topic == NULL)
        return -ENOENT;
    tfs_worker_may_block();
    int result = tlog_topic_rename(topic, new_name);
    tlog_topic_unref(topic);
    if (result != -EEXIST || flags & RENAME_NOREPLACE)
        return result;
    return -ENOTEMPTY; /* as onto a directory with files in it, which a topic is */
}

void tfs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                   unsigned flags)
{
    if (parent != FUSE_ROOT_ID || new_parent != FUSE_ROOT_ID)
        fuse_reply_err(req, EPERM);
    else
        fuse_reply_err(req, -rename_topic(tfs_of(req), name, new_name, flags));
}

void tfs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    (void)ino, (void)parent, (void)name;
    fuse_reply_err(req, EPERM);
}

void tfs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    (void)target, (void)parent, (void)name;
    fuse_reply_err(req, EPERM);
}

void tfs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    (void)parent, (void)name, (void)mode, (void)device;
    fuse_reply_err(req, EPERM);
}
