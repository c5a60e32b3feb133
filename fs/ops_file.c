/* Open files: open, read, flush, release, poll. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "handle.h"
#include "ops.h"
#include "release.h"
#include "reply.h"
#include "tree.h"
#include "virtual.h"
#include "workers.h"

static bool writable(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

static int may_open(const struct tfs_node *node, int flags)
{
    switch (node->kind) {
    case TFS_DOOR:
        if ((flags & O_ACCMODE) != O_WRONLY)
            return -EACCES; /* its mode says so too, but not to root */
        break;
    case TFS_PARTITION:
        break;
    case TFS_VIRTUAL:
        return writable(flags) && node->virtual != TFS_CONFIG ? -EACCES : 0;
    case TFS_TREE:
        return node->tree->directory ? -EISDIR : writable(flags) ? -node->tree->refusal : 0;
    case TFS_ROOT:
    case TFS_TOPIC:
        return -EISDIR;
    }
    if ((flags & O_TRUNC) && tlog_topic_value(node->topic, TLOG_OPEN_TRUNCATE) == TLOG_TRUNCATE_REFUSE)
        return -EPERM;
    return 0;
}

int tfs_file_open(struct tfs *fs, struct tfs_node *node, struct fuse_file_info *fi)
{
    int result = may_open(node, fi->flags);

    if (result != 0)
        return result;
    struct tfs_handle *handle;
    result = tfs_handle_open(fs, node, fi->flags, &handle);
    if (result != 0)
        return result;
    if (node->part != NULL)
        tfs_release_await(node->part);
    fi->fh = (uint64_t)(uintptr_t)handle;
    if (node->kind == TFS_TREE)
        fi->keep_cache = 1;
    else
        fi->direct_io = 1;
    /* A reader's close need not wait for us, unless it may drop fcntl locks: any close of a file does, of those
     * that its process holds there. Locks taken later through this one go at its last close. */
    fi->noflush = !writable(fi->flags) && !tfs_locks_any_range(tfs_node_locks(node));
    return 0;
}

void tfs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    int result = tfs_file_open(fs, tfs_node_get(fs, ino), fi);

    if (result != 0)
        fuse_reply_err(req, -result);
    else if (fuse_reply_open(req, fi) != 0)
        tfs_handle_close(fs, tfs_handle_of(fi->fh));
}

/* Under the lock until the answer is written: the caller may close at once, and another thread then frees the text. */
static void read_text(fuse_req_t req, struct tfs_handle *handle, size_t bytes, uint64_t offset)
{
    const struct tfs_text *text = handle->text;
    size_t left = offset < text->shown_bytes ? text->shown_bytes - (size_t)offset : 0;

    pthread_mutex_lock(&handle->lock);
    fuse_reply_buf(req, left > 0 ? text->shown + offset : NULL, bytes < left ? bytes : left);
    pthread_mutex_unlock(&handle->lock);
}

void tfs_op_read(fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset, struct fuse_file_info *fi)
{
    struct tfs_handle *handle = tfs_handle_of(fi->fh);

    (void)ino;
    if (handle->text != NULL) {
        read_text(req, handle, bytes, (uint64_t)offset);
        return;
    }
    if (bytes > TFS_MAX_REQUEST_BYTES)
        bytes = TFS_MAX_REQUEST_BYTES;
    if (handle->node->kind == TFS_TREE) {
        tfs_worker_may_block();
        handle->node->tree->read(req, handle->node, handle->file, bytes, (uint64_t)offset);
        return;
    }
    tfs_release_await(handle->part);
    struct tlog_partition *partition = handle->part->partition;
    uint64_t pos = handle->node->base + (uint64_t)offset;
    uint64_t committed = tlog_partition_committed(partition);
    bool sequential = atomic_load_explicit(&handle->read_end, memory_order_relaxed) == (uint64_t)offset;

    if (pos >= committed) {
        atomic_store_explicit(&handle->read_end, (uint64_t)offset, memory_order_relaxed);
        atomic_store_explicit(&handle->told_end, committed, memory_order_relaxed);
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    if (bytes > committed - pos)
        bytes = (size_t)(committed - pos);
    atomic_store_explicit(&handle->read_end, (uint64_t)offset + bytes, memory_order_relaxed);

    tfs_worker_may_block(); /* for the disk, when the bytes are not in memory */
    tfs_reply_log(req, partition, pos, bytes, sequential, TFS_REPLY_BEGINNING);
}

/* Each close(2) of a writer waits for this one. */
void tfs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_handle *handle = tfs_handle_of(fi->fh);
    int result = 0;

    (void)ino;
    if (handle->text != NULL)
        tfs_worker_may_block();
    pthread_mutex_lock(&handle->lock);
    if (handle->text != NULL)
        result = tfs_text_flush(fs, handle->node, handle->text);
    else if (handle->writer != NULL && tlog_writer_held(handle->writer) > 0)
        tfs_release_expect(handle);
    pthread_mutex_unlock(&handle->lock);
    tfs_locks_drop_owner(tfs_node_locks(handle->node), fi->lock_owner);
    fuse_reply_err(req, -result);
}

void tfs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    tfs_handle_close(tfs_of(req), tfs_handle_of(fi->fh));
    fuse_reply_err(req, 0);
}

void tfs_op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *poll)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_handle *handle = tfs_handle_of(fi->fh);
    unsigned events = POLLOUT | POLLWRNORM;

    (void)ino;
    if (handle->part == NULL) {
        if (poll != NULL)
            fuse_pollhandle_destroy(poll);
        fuse_reply_poll(req, events | POLLIN | POLLRDNORM);
        return;
    }
    tfs_release_await(handle->part);
    /* Waiting first, looking then: growth in between is not missed. */
    if (poll != NULL)
        tfs_poller_set(&fs->notify, handle->part, &handle->poller, poll);
    uint64_t committed = tlog_partition_committed(handle->part->partition);
    uint64_t read_pos = handle->node->base + atomic_load_explicit(&handle->read_end, memory_order_relaxed);
    /* The wake-up stays asked for all the same: an edge-triggered epoll does not ask again before the next growth. */
    if (read_pos < committed || atomic_load_explicit(&handle->told_end, memory_order_relaxed) != committed)
        events |= POLLIN | POLLRDNORM;
    fuse_reply_poll(req, events);
}
