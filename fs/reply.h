/* Answering reads with bytes of the log: where it has them in memory, from there. */
#ifndef TFS_REPLY_H
#define TFS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_req;
struct tlog_partition;

enum tfs_reply {
    TFS_REPLY_BEGINNING, /* what comes before damage is answered, as a short read */
    TFS_REPLY_WHOLE,     /* all or an error: the kernel takes a short answer for the end of the file */
};

/* Answers a read of [pos, pos + bytes), which is committed and at most TFS_MAX_REQUEST_BYTES. */
void tfs_reply_log(struct fuse_req *req, struct tlog_partition *partition, uint64_t pos, size_t bytes, bool sequential,
                   enum tfs_reply how);

#endif
