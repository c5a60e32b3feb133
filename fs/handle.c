#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "daemon.h"
#include "generation.h"
#include "release.h"
#include "tree.h"
#include "virtual.h"

/* What the node counts or makes for an open file. */
static int open_node(struct tfs *fs, struct tfs_handle *handle, int flags)
{
    struct tfs_node *node = handle->node;

    switch (node->kind) {
    case TFS_PARTITION:
        return tfs_generation_open(node, handle->readable);
    case TFS_VIRTUAL:
        return tfs_text_open(fs, node, flags, &handle->text);
    case TFS_TREE:
        return node->tree->open(fs, node, &handle->file);
    case TFS_ROOT:
    case TFS_TOPIC:
    case TFS_DOOR:
        break;
    }
    return 0;
}

static void close_node(struct tfs *fs, struct tfs_handle *handle)
{
    struct tfs_node *node = handle->node;

    if (node->kind == TFS_PARTITION)
        tfs_generation_close(node, handle->readable);
    else if (node->kind == TFS_TREE)
        node->tree->close(fs, node, handle->file);
    tfs_text_free(handle->text);
}

int tfs_handle_open(struct tfs *fs, struct tfs_node *node, int flags, struct tfs_handle **out)
{
    struct tfs_handle *handle = calloc(1, sizeof *handle);

    if (handle == NULL)
        return -ENOMEM;
    handle->node = node;
    handle->part = node->part;
    handle->readable = (flags & O_ACCMODE) != O_WRONLY;
    handle->opened_truncating = (flags & O_TRUNC) != 0;
    int result = open_node(fs, handle, flags);
    if (result != 0) {
        free(handle);
        return result;
    }
    tfs_node_ref(fs, node);
    if (node->part != NULL)
        handle->told_first = tfs_node_told_last(node);
    atomic_init(&handle->told_end, UINT64_MAX);
    pthread_mutex_init(&handle->lock, NULL);

    pthread_mutex_lock(&fs->handles_lock);
    handle->next = fs->handles;
    handle->link = &fs->handles;
    if (handle->next != NULL)
        handle->next->link = &handle->next;
    fs->handles = handle;
    pthread_mutex_unlock(&fs->handles_lock);
    *out = handle;
    return 0;
}

static void end_line(struct tfs_handle *handle)
{
    pthread_mutex_lock(&handle->lock);
    if (handle->writer != NULL)
        tlog_writer_close(handle->writer);
    handle->writer = NULL;
    pthread_mutex_unlock(&handle->lock);
}

void tfs_handle_close(struct tfs *fs, struct tfs_handle *handle)
{
    struct tfs_node *node = handle->node;

    pthread_mutex_lock(&fs->handles_lock);
    *handle->link = handle->next;
    if (handle->next != NULL)
        handle->next->link = handle->link;
    pthread_mutex_unlock(&fs->handles_lock);

    end_line(handle);
    if (handle->part != NULL) {
        tfs_release_done(handle);
        tfs_poller_set(&fs->notify, handle->part, &handle->poller, NULL);
    }
    tfs_locks_drop_handle(tfs_node_locks(node), (uint64_t)(uintptr_t)handle);
    close_node(fs, handle);
    pthread_mutex_destroy(&handle->lock);
    free(handle);
    tfs_node_unref(fs, node, 1);
}

void tfs_handles_close(struct tfs *fs)
{
    while (fs->handles != NULL)
        tfs_handle_close(fs, fs->handles);
}

void tfs_handles_end_lines(struct tfs *fs, const struct tfs_part *part)
{
    pthread_mutex_lock(&fs->handles_lock);
    for (struct tfs_handle *handle = fs->handles; handle != NULL; handle = handle->next)
        if (handle->part == part)
            end_line(handle);
    pthread_mutex_unlock(&fs->handles_lock);
}
