/* Directories: topics in the root, partitions in a topic, and those of trees. An open directory is a snapshot of the names taken when it
 * is read from the start, so that offsets stay good while names come and go. Hidden names are never in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "listing.h"
#include "ops.h"
#include "tree.h"
#include "workers.h"

struct directory {
    bool filled;
    struct tfs_listing names;
};

static int add_topics(struct tfs_listing *names, struct tfs *fs)
{
    struct tlog_topic **topics;
    size_t count;
    int result = tlog_store_topics(fs->store, &topics, &count);

    if (result != 0)
        return result;
    for (size_t i = 0; i < count && result == 0; i++) {
        char name[256];
        tlog_topic_name(topics[i], name);
        result = tfs_listing_add(names, name, tfs_topic_ino(topics[i]), S_IFDIR);
    }
    tlog_topics_free(topics, count);
    return result;
}

static int add_partitions(struct tfs_listing *names, struct tlog_topic *topic)
{
    unsigned count = tlog_topic_partitions(topic);
    int result = 0;

    for (unsigned number = 0; number < count && result == 0; number++) {
        struct tlog_partition *partition = tlog_partition_get(topic, number);
        char name[16];
        if (partition == NULL)
            continue;
        tlog_partition_unref(partition);
        snprintf(name, sizeof name, "%u", number);
        result = tfs_listing_add(names, name, tfs_partition_ino(topic, number), S_IFREG);
    }
    return result;
}

static int fill_own(struct tfs_listing *names, struct tfs *fs, struct tfs_node *node)
{
    switch (node->kind) {
    case TFS_ROOT:
        return add_topics(names, fs);
    case TFS_TOPIC:
        return add_partitions(names, node->topic);
    case TFS_TREE:
        return node->tree->list(fs, node, names);
    case TFS_PARTITION:
    case TFS_DOOR:
    case TFS_VIRTUAL:
        break;
    }
    return -ENOTDIR;
}

static int fill(struct directory *directory, struct tfs *fs, struct tfs_node *node)
{
    struct tfs_listing *names = &directory->names;

    tfs_listing_clear(names);
    int result = tfs_listing_add(names, ".", node->ino, S_IFDIR);
    if (result == 0)
        result = tfs_listing_add(names, "..", node->kind == TFS_TREE ? node->directory->ino : FUSE_ROOT_ID, S_IFDIR);
    if (result == 0)
        result = fill_own(names, fs, node);
    directory->filled = result == 0;
    return result;
}

void tfs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *node = tfs_node_get(fs, ino);
    bool hidden = node->kind == TFS_TREE && node->tree->directory;
    void *file = NULL;

    if (node->kind != TFS_ROOT && node->kind != TFS_TOPIC && !hidden) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    struct directory *directory = calloc(1, sizeof *directory);
    int result = directory == NULL                    ? -ENOMEM
                 : hidden && node->tree->open != NULL ? node->tree->open(fs, node, &file)
                                                      : 0;
    if (result != 0) {
        free(directory);
        fuse_reply_err(req, -result);
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)directory;
    if (fuse_reply_open(req, fi) == 0)
        return;
    if (hidden && node->tree->close != NULL)
        node->tree->close(fs, node, file);
    free(directory);
}

void tfs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct directory *directory = (struct directory *)(uintptr_t)fi->fh;
    const struct tfs_listing *names = &directory->names;
    int result = 0;

    tfs_worker_may_block();
    if (offset == 0 || !directory->filled)
        result = fill(directory, fs, tfs_node_get(fs, ino));
    char *out = result == 0 ? malloc(bytes) : NULL;
    if (out == NULL) {
        fuse_reply_err(req, result != 0 ? -result : ENOMEM);
        return;
    }
    size_t used = 0;
    for (size_t at = (size_t)offset; at < names->count; at++) {
        const struct tfs_listed *listed = &names->list[at];
        const struct stat attr = {.st_ino = listed->ino, .st_mode = listed->type};
        size_t needed = fuse_add_direntry(req, out + used, bytes - used, listed->name, &attr, (off_t)at + 1);
        if (needed > bytes - used)
            break;
        used += needed;
    }
    fuse_reply_buf(req, out, used);
    free(out);
}

void tfs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_node *node = tfs_node_get(fs, ino);
    struct directory *directory = (struct directory *)(uintptr_t)fi->fh;

    if (node->kind == TFS_TREE && node->tree->close != NULL)
        node->tree->close(fs, node, NULL);
    tfs_listing_clear(&directory->names);
    free(directory);
    fuse_reply_err(req, 0);
}

/* What was made in a directory is on disk before the call that made it returns, but its data may not be. */
void tfs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino, (void)datasync, (void)fi;
    tfs_worker_may_block();
    fuse_reply_err(req, -tlog_store_sync(tfs_of(req)->store));
}
