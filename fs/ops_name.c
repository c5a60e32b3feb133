/* Names: looking them up, making, removing and changing them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "handle.h"
#include "name.h"
#include "ops.h"
#include "tree.h"
#include "virtual.h"
#include "workers.h"

enum { TOPIC_NAME_MAX = 249 };

static int find_in_root(struct tfs *fs, const char *name, struct tfs_node **out)
{
    enum tfs_virtual which;

    if (tfs_virtual_named(name, TFS_ROOT, &which))
        return tfs_node_find_virtual(fs, &fs->nodes.root, which, out);
    if (name[0] == '.')
        return tfs_tree_find_top(fs, &fs->nodes.root, name, out);
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
    return tfs_tree_find_top(fs, directory, name, out);
}

static int find_name(struct tfs *fs, struct tfs_node *directory, const char *name, pid_t caller, struct tfs_node **out)
{
    switch (directory->kind) {
    case TFS_ROOT:
        return find_in_root(fs, name, out);
    case TFS_TOPIC:
        return find_in_topic(fs, directory, name, out);
    case TFS_TREE:
        tfs_worker_may_block();
        return directory->tree->directory ? directory->tree->find(fs, directory, name, caller, out) : -ENOTDIR;
    case TFS_PARTITION:
    case TFS_DOOR:
    case TFS_VIRTUAL:
        break;
    }
    return -ENOTDIR;
}

static double entry_seconds(const struct tfs_node *node)
{
    if (node->kind == TFS_TREE)
        return node->tree->entry_seconds;
    return node->kind == TFS_DOOR ? 0.0 : TFS_ENTRY_SECONDS; /* a door is another one each time */
}

static int fill_entry(struct tfs *fs, struct tfs_node *node, struct fuse_entry_param *entry)
{
    *entry = (struct fuse_entry_param){
        .ino = tfs_node_id(fs, node),
        .generation = 1,
        .entry_timeout = entry_seconds(node),
        .attr_timeout = tfs_node_attr_seconds(node),
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
    int result = find_name(fs, tfs_node_get(fs, parent), name, fuse_req_ctx(req)->pid, &node);

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

/* What a change of names that no function makes answers. */
static int refusal(const struct tfs_node *directory)
{
    return directory->kind == TFS_TREE ? directory->tree->refusal : EPERM;
}

void tfs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct tfs *fs = tfs_of(req);
    struct tlog_attr attr = attr_of_caller(req, mode);
    struct tfs_node *node = NULL;
    int result = -refusal(tfs_node_get(fs, parent));

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
        return -refusal(directory);
    if (tfs_name_parse(name, &number) != TFS_NAME_PARTITION)
        return -EINVAL;
    tfs_worker_may_block();
    int result = tlog_topic_add_partition(directory->topic, number, attr);
    if (result != 0 && (result != -EEXIST || exclusive))
        return result;
    return tfs_node_find_partition(fs, directory->topic, number, out);
}

static int create(struct tfs *fs, struct tfs_node *directory, const char *name, const struct tlog_attr *attr,
                  struct fuse_entry_param *entry, struct fuse_file_info *fi, struct tfs_node **out)
{
    int result = make_partition(fs, directory, name, attr, (fi->flags & O_EXCL) != 0, out);

    if (result != 0)
        return result;
    result = fill_entry(fs, *out, entry);
    if (result == 0)
        result = tfs_file_open(fs, *out, fi);
    if (result != 0)
        tfs_node_unref(fs, *out, 1);
    return result;
}

void tfs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    enum { TRIES = 5 };
    struct tfs *fs = tfs_of(req);
    struct tlog_attr attr = attr_of_caller(req, mode);
    struct fuse_entry_param entry;
    struct tfs_node *node;
    int result = -ESTALE;

    /* The head may be trimmed between the look at the name and the open. */
    for (int i = 0; i < TRIES && result == -ESTALE; i++)
        result = create(fs, tfs_node_get(fs, parent), name, &attr, &entry, fi, &node);
    if (result != 0) {
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
    int result = find_name(fs, directory, name, 0, &node);

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

static int remove_in_tree(struct tfs *fs, struct tfs_node *directory, const char *name, bool is_directory)
{
    const struct tfs_tree *tree = directory->tree;
    int (*remove)(struct tfs *, struct tfs_node *, const char *) = is_directory ? tree->rmdir : tree->unlink;

    tfs_worker_may_block();
    return remove != NULL ? remove(fs, directory, name) : -tree->refusal;
}

void tfs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *directory = tfs_node_get(fs, parent);

    if (directory->kind == TFS_TREE)
        fuse_reply_err(req, -remove_in_tree(fs, directory, name, false));
    else
        fuse_reply_err(req, -remove_partition(fs, directory, name));
}

static int remove_topic(struct tfs *fs, const char *name)
{
    struct tlog_topic *topic = tlog_topic_get(fs->store, name);

    if (topic == NULL)
        return name[0] == '.' ? -EPERM : -ENOENT;
    tfs_worker_may_block();
    int result = tlog_topic_remove(topic, false);
    tlog_topic_unref(topic);
    return result;
}

void tfs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *directory = tfs_node_get(fs, parent);

    if (directory->kind == TFS_TREE)
        fuse_reply_err(req, -remove_in_tree(fs, directory, name, true));
    else if (directory->kind == TFS_ROOT)
        fuse_reply_err(req, -remove_topic(fs, name));
    else
        fuse_reply_err(req, name[0] == '.' ? EPERM : ENOTDIR);
}

static bool hidden(const char *name)
{
    enum tfs_virtual which;

    return tfs_virtual_named(name, TFS_ROOT, &which) || tfs_tree_named(name, TFS_ROOT);
}

static int rename_topic(struct tfs *fs, const char *name, const char *new_name, unsigned flags)
{
    struct tlog_topic *topic;

    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    if (hidden(name) || hidden(new_name))
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
    struct tfs *fs = tfs_of(req);

    if (parent != FUSE_ROOT_ID)
        fuse_reply_err(req, refusal(tfs_node_get(fs, parent)));
    else if (new_parent != FUSE_ROOT_ID)
        fuse_reply_err(req, refusal(tfs_node_get(fs, new_parent)));
    else
        fuse_reply_err(req, -rename_topic(fs, name, new_name, flags));
}

void tfs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    (void)ino, (void)name;
    fuse_reply_err(req, refusal(tfs_node_get(tfs_of(req), parent)));
}

void tfs_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    (void)target, (void)name;
    fuse_reply_err(req, refusal(tfs_node_get(tfs_of(req), parent)));
}

void tfs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    (void)name, (void)mode, (void)device;
    fuse_reply_err(req, refusal(tfs_node_get(tfs_of(req), parent)));
}
