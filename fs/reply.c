#include "reply.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "daemon.h"

/* A view ends with its segment, or with a sealed segment's frame: a request has five of those at most, unless segments
 * are tiny. */
enum { VIEWS = 8 };

/* Many small segments, or one that has outgrown its mapping: seldom enough to take the memory for it each time. */
static void reply_copied(struct fuse_req *req, struct tlog_partition *partition, uint64_t pos, size_t bytes,
                         enum tfs_reply how)
{
    char *copy = malloc(bytes);

    if (copy == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    ssize_t got = tlog_partition_read(partition, pos, copy, bytes);
    if (got < 0)
        fuse_reply_err(req, (int)-got);
    else if (got == 0 || (how == TFS_REPLY_WHOLE && (size_t)got < bytes))
        fuse_reply_err(req, EIO); /* it is committed: this is not the end of the file */
    else
        fuse_reply_buf(req, copy, (size_t)got);
    free(copy);
}

void tfs_reply_log(struct fuse_req *req, struct tlog_partition *partition, uint64_t pos, size_t bytes, bool sequential,
                   enum tfs_reply how)
{
    struct tlog_view views[VIEWS];
    struct iovec parts[VIEWS] = {0};
    size_t got = 0;
    int count = 0, result = 0;

    while (got < bytes && count < VIEWS) {
        result = tlog_partition_view(partition, pos + got, bytes - got, sequential, &views[count]);
        if (result != 0 || views[count].length == 0)
            break;
        parts[count] = (struct iovec){.iov_base = (void *)(uintptr_t)views[count].data, .iov_len = views[count].length};
        got += views[count].length;
        count++;
    }
    bool enough = got == bytes || (got > 0 && how == TFS_REPLY_BEGINNING && result != 0);
    /* When the disk fails under the mapping, writing the reply fails with EFAULT, and the kernel ends the request with
     * EIO by itself. */
    if (enough)
        fuse_reply_iov(req, parts, count);
    for (int i = 0; i < count; i++)
        tlog_view_release(&views[i]);
    if (enough)
        return;
    if (result != 0 && result != -ENOMEM)
        fuse_reply_err(req, -result);
    else
        reply_copied(req, partition, pos, bytes, how);
}
