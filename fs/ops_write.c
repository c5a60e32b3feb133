/* Writing and making durable.
 *
 * The happy path of write(2): the offset is believed or not, the framer finds the whole lines, the log takes them with
 * one call, the caller gets the count. Ways it ends otherwise: EPERM (not at the end), EMSGSIZE (framer.h), what the
 * log says (ENOSPC, EDQUOT, EIO, EROFS, ESTALE), each with nothing of this write taken; a short count when a part
 * was. Over quota.bytes.per.second it waits first (throttle.h). With O_DSYNC the answer waits for the disk, and so does fsync: the request is kept, and answered by the
 * thread that ran the sync. An interrupt does not end that wait: the lines are appended, and a caller told EINTR
 * would write them again. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "handle.h"
#include "ops.h"
#include "release.h"
#include "virtual.h"
#include "workers.h"

struct synced {
    struct tlog_waiter waiter;
    struct tfs *fs;
    fuse_req_t req;
    bool write;
    size_t bytes;
};

static void answer_synced(struct tlog_waiter *waiter, int result)
{
    struct synced *synced = (struct synced *)(void *)waiter;
    struct tfs *fs = synced->fs;

    if (result == 0 && synced->write)
        fuse_reply_write(synced->req, synced->bytes);
    else
        fuse_reply_err(synced->req, -result);
    free(synced);
    atomic_fetch_sub(&fs->syncing, 1);
}

/* Answers once everything that the partition has taken is durable. */
static void reply_when_durable(fuse_req_t req, struct tlog_partition *partition, bool write, size_t bytes)
{
    struct tfs *fs = tfs_of(req);
    struct synced *synced = malloc(sizeof *synced);

    tfs_worker_may_block(); /* one of those who wait runs the sync */
    if (synced == NULL) {
        int result = tlog_partition_sync_wait(partition);
        if (result == 0 && write)
            fuse_reply_write(req, bytes);
        else
            fuse_reply_err(req, -result);
        return;
    }
    *synced = (struct synced){.waiter.done = answer_synced, .fs = fs, .req = req, .write = write, .bytes = bytes};
    atomic_fetch_add(&fs->syncing, 1);
    tlog_partition_sync(partition, &synced->waiter);
}

/* Without O_APPEND a file is written from 0 (if opened truncating) or from a size that it was said to have, and then
 * on from where its own last write ended. */
static bool may_write_at(struct tfs_handle *handle, uint64_t offset)
{
    if (handle->wrote)
        return offset == handle->next_offset;
    if (offset == 0 && (handle->opened_truncating || handle->node->kind == TFS_DOOR))
        return true;
    return tfs_node_told_since(handle->node, handle->told_first, offset) ||
           offset + handle->node->base == tlog_partition_committed(handle->part->partition);
}

static int open_writer(struct tfs_handle *handle, bool raw)
{
    /* The format changed under an unfinished line: end it, raw records have none. */
    if (handle->writer != NULL && raw && tlog_writer_held(handle->writer) > 0) {
        tlog_writer_close(handle->writer);
        handle->writer = NULL;
    }
    return handle->writer != NULL ? 0 : tlog_writer_open(&handle->writer, handle->part->partition);
}

static ssize_t append(struct tfs_handle *handle, const char *data, size_t bytes)
{
    struct tlog_topic *topic = handle->node->topic;
    size_t max_bytes = (size_t)tlog_topic_value(topic, TLOG_MAX_MESSAGE_BYTES);
    bool raw = tlog_topic_value(topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
    struct tfs_frame frame;

    int result = open_writer(handle, raw);
    if (result != 0)
        return result;
    if (raw)
        frame = tfs_framer_raw(bytes, max_bytes);
    else
        frame = tfs_framer_lines(&handle->framer, data, bytes, tlog_writer_held(handle->writer), max_bytes);
    if (frame.forget)
        tlog_writer_drop(handle->writer);
    if (frame.error != 0)
        return frame.error;
    if (frame.length == 0)
        return (ssize_t)frame.skip;

    ssize_t taken = tlog_writer_append(handle->writer, data + frame.skip, frame.length, frame.whole, frame.records);
    if (taken < 0)
        return frame.skip > 0 ? (ssize_t)frame.skip : taken;
    return (ssize_t)frame.skip + taken;
}

static ssize_t write_partition(struct tfs_handle *handle, const char *data, size_t bytes, uint64_t offset, int flags)
{
    if (!(flags & O_APPEND) && !may_write_at(handle, offset))
        return -EPERM;
    tfs_release_done(handle);
    ssize_t taken = append(handle, data, bytes);
    tfs_framer_done(&handle->framer, bytes, taken);
    if (taken >= 0) {
        handle->wrote = true;
        handle->next_offset = offset + (uint64_t)taken;
    }
    return taken;
}

void tfs_write(fuse_req_t req, const char *data, size_t bytes, off_t offset, struct fuse_file_info *fi)
{
    struct tfs_handle *handle = tfs_handle_of(fi->fh);
    ssize_t taken;

    pthread_mutex_lock(&handle->lock);
    if (handle->text != NULL)
        taken = tfs_text_write(handle->text, data, bytes, (uint64_t)offset, fi->flags);
    else
        taken = write_partition(handle, data, bytes, (uint64_t)offset, fi->flags);
    pthread_mutex_unlock(&handle->lock);

    if (taken < 0)
        fuse_reply_err(req, (int)-taken);
    else if ((fi->flags & O_DSYNC) && handle->part != NULL)
        reply_when_durable(req, handle->part->partition, true, (size_t)taken);
    else
        fuse_reply_write(req, (size_t)taken);
}

/* What will be refused for its place need not wait. */
static bool has_quota(struct tfs_handle *handle, uint64_t offset, int flags)
{
    if (handle->part == NULL || tlog_topic_value(handle->node->topic, TLOG_QUOTA_RATE) < 0)
        return false;
    pthread_mutex_lock(&handle->lock);
    bool placed = (flags & O_APPEND) || may_write_at(handle, offset);
    pthread_mutex_unlock(&handle->lock);
    return placed;
}

void tfs_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t bytes, off_t offset,
                  struct fuse_file_info *fi)
{
    struct tfs *fs = tfs_of(req);
    struct tfs_handle *handle = tfs_handle_of(fi->fh);

    (void)ino;
    if (!has_quota(handle, (uint64_t)offset, fi->flags) ||
        !tfs_throttle_keeps(&fs->throttle, &handle->part->charged, handle->part->partition, req, data, bytes, offset,
                            fi))
        tfs_write(req, data, bytes, offset, fi);
}

void tfs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct tfs_handle *handle = tfs_handle_of(fi->fh);

    (void)ino, (void)datasync;
    if (handle->part != NULL)
        reply_when_durable(req, handle->part->partition, false, 0);
    else
        fuse_reply_err(req, 0);
}

/* Space can be asked for ahead, which has no effect; a file cannot be made longer this way. The error is not
 * EOPNOTSUPP: with that glibc's posix_fallocate would write NULs itself. */
void tfs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t bytes, struct fuse_file_info *fi)
{
    (void)ino, (void)offset, (void)bytes, (void)fi;
    fuse_reply_err(req, mode == FALLOC_FL_KEEP_SIZE ? 0 : EPERM);
}
