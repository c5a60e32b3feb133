/* Directories: topics in the root, partitions in a topic. An open directory is a snapshot of the names taken when it
 * is read from the start, so that offsets stay good while names come and go. Hidden names are never in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ops.h"
#include "workers.h"

struct names {
    bool filled;
    size_t count, room;
    struct name {
        char *text;
        uint64_t ino;
        mode_t type;
    } * list;
};

static void clear(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].text);
    free(names->list);
    *names = (struct names){0};
}

static int add(struct names *names, const char *text, uint64_t ino, mode_t type)
{
    if (names->count == names->room) {
        size_t room = names->room > 0 ? 2 * names->room : 16;
        struct name *list = reallocarray(names->list, room, sizeof *list);
        if (list == NULL)
            return -ENOMEM;
        names->list = list;
        names->room = room;
    }
    struct name *name = &names->list[names->count];
    *name = (struct name){.text = strdup(text), .ino = ino, .type = type};
    if (name->text == NULL)
        return -ENOMEM;
    names->count++;
    return 0;
}

static int add_topics(struct names *names, struct tfs *fs)
{
    struct tlog_topic **topics;
    size_t count;
    int result = tlog_store_topics(fs->store, &topics, &count);

    if (result != 0)
        return result;
    for (size_t i = 0; i < count && result == 0; i++) {
        char name[256];
        tlog_topic_name(topics[i], name);
        result = add(names, name, tfs_topic_ino(topics[i]), S_IFDIR);
    }
    tlog_topics_free(topics, count);
    return result;
}

static int add_partitions(struct names *names, struct tlog_topic *topic)
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
        result = add(names, name, tfs_partition_ino(topic, number), S_IFREG);
    }
    return result;
}

static int fill(struct names *names, struct tfs *fs, struct tfs_node *node)
{
    clear(names);
    int result = add(names, ".", node->ino, S_IFDIR);
    if (result == 0)
        result = add(names, "..", FUSE_ROOT_ID, S_IFDIR);
    if (result == 0)
        result = node->kind == TFS_ROOT ? add_topics(names, fs) : add_partitions(names, node->topic);
    names->filled = result == 0;
    return result;
}

void tfs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tfs_node *node = tfs_node_get(tfs_of(req), ino);
    struct names *names;

    if (node->kind != TFS_ROOT && node->kind != TFS_TOPIC) {
        fuse_reply_err(req, ENOTDIR);
        return;
    }
    names = calloc(1, sizeof *names);
    if (names == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)names;
    if (fuse_reply_open(req, fi) != 0)
        free(names);
}

void tfs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct names *names = (struct names *)(uintptr_t)fi->fh;
    int result = 0;

    if (offset == 0 || !names->filled)
        result = fill(names, fs, tfs_node_get(fs, ino));
    char *out = result == 0 ? malloc(bytes) : NULL;
    if (out == NULL) {
        fuse_reply_err(req, result != 0 ? -result : ENOMEM);
        return;
    }
    size_t used = 0;
    for (size_t at = (size_t)offset; at < names->count; at++) {
        const struct name *name = &names->list[at];
        const struct stat attr = {.st_ino = name->ino, .st_mode = name->type};
        size_t needed = fuse_add_direntry(req, out + used, bytes - used, name->text, &attr, (off_t)at + 1);
        if (needed > bytes - used)
            break;
        used += needed;
    }
    fuse_reply_buf(req, out, used);
    free(out);
}

void tfs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct names *names = (struct names *)(uintptr_t)fi->fh;

    (void)ino;
    clear(names);
    free(names);
    fuse_reply_err(req, 0);
}

/* What was made in a directory is on disk before the call that made it returns, but its data may not be. */
void tfs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino, (void)datasync, (void)fi;
    tfs_worker_may_block();
    fuse_reply_err(req, -tlog_store_sync(tfs_of(req)->store));
}
