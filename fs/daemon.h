/* What all parts of the daemon share: one struct tfs a process, reached from a request by tfs_of. Set up by main
 * before the first request and unchanged while requests run, but for the fields that say otherwise. */
#ifndef TFS_DAEMON_H
#define TFS_DAEMON_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "instant.h"
#include "node.h"
#include "notify.h"
#include "recovery.h"
#include "throttle.h"
#include "trash.h"
#include "log/topiclog.h"

struct tfs {
    struct tlog_store *store;
    struct fuse_session *session;
    char *store_path; /* absolute */
    bool read_only;
    int64_t started_ns; /* CLOCK_BOOTTIME */
    struct tfs_progress progress;
    struct tfs_nodes nodes;
    struct tfs_notify notify;
    struct tfs_throttle throttle;
    struct tfs_instants instants;
    struct tfs_trash trash;
    pthread_mutex_t handles_lock; /* before a handle's */
    struct tfs_handle *handles;
    atomic_uint syncing; /* requests that wait for the disk */
};

/* How long the kernel may believe a name. All changes of names go through the kernel or are told to it. */
#define TFS_ENTRY_SECONDS 60.0
/* Sizes change without the kernel, modes and owners of directories do not. */
#define TFS_FILE_ATTR_SECONDS 0.0
#define TFS_DIR_ATTR_SECONDS  1.0
/* The kernel's largest request, and the best size for reading. */
#define TFS_MAX_REQUEST_BYTES (1u << 20)

static inline struct tfs *tfs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

#endif
