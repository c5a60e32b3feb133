#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "daemon.h"

static const struct {
    const char *name;
    enum tfs_kind directory;
    const struct tfs_tree *tree;
} tops[] = {
    {".segments", TFS_TOPIC, &tfs_segments_tree},
    {".at", TFS_ROOT, &tfs_at_tree},
    {".trash", TFS_ROOT, &tfs_trash_tree},
};

static const struct tfs_tree *top_named(const char *name, enum tfs_kind directory)
{
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
        if (directory == tops[i].directory && strcmp(name, tops[i].name) == 0)
            return tops[i].tree;
    return NULL;
}

bool tfs_tree_named(const char *name, enum tfs_kind directory)
{
    return top_named(name, directory) != NULL;
}

int tfs_tree_find_top(struct tfs *fs, struct tfs_node *directory, const char *name, struct tfs_node **out)
{
    const struct tfs_tree *tree = top_named(name, directory->kind);

    if (tree == NULL)
        return -ENOENT;
    return tfs_node_find_in_tree(fs, directory, tree, tfs_tree_ino(directory, name), NULL, out);
}

bool tfs_tree_same(const void *item, const void *found)
{
    return item == found;
}

uint64_t tfs_tree_ino(const struct tfs_node *directory, const char *name)
{
    const uint64_t key[] = {directory->ino, XXH3_64bits(name, strlen(name))};

    return tfs_ino_of(key, sizeof key);
}

void tfs_tree_read_file(struct fuse_req *req, struct tfs_node *node, void *file, size_t bytes, uint64_t offset)
{
    char *copy = malloc(bytes);

    (void)node;
    if (copy == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    ssize_t got = tlog_segment_file_read(file, offset, copy, bytes);
    if (got < 0)
        fuse_reply_err(req, (int)-got);
    else
        fuse_reply_buf(req, copy, (size_t)got);
    free(copy);
}

void tfs_tree_close_file(struct tfs *fs, struct tfs_node *node, void *file)
{
    (void)fs, (void)node;
    tlog_segment_file_close(file);
}
