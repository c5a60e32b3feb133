/* Waiting for a release that is on its way.
 *
 * An unfinished line becomes a line at the last close, and close(2) returns before the kernel's RELEASE is handled.
 * So that `printf x >> T/0; tail -n 1 T/0` shows x, a flush (which close(2) waits for) that leaves an unfinished
 * line expects the release, and who looks at the partition meanwhile waits for it, at most TFS_RELEASE_WAIT_MS:
 * the file may be open elsewhere, and then no release follows.
 *
 * Waiting in a worker thread cannot deadlock: RELEASE was queued before close(2) returned, so it was taken from the
 * queue before any request of somebody who knows of that close, and its handling waits for nothing here. */
#ifndef TFS_RELEASE_H
#define TFS_RELEASE_H

#include <stdatomic.h>

#include "node.h"

struct tfs_handle;

enum { TFS_RELEASE_WAIT_MS = 20 };

/* The handle was flushed with an unfinished line. */
void tfs_release_expect(struct tfs_handle *handle);
/* It was closed, or written to again: not the last close then. Cheap when nothing was expected. */
void tfs_release_done(struct tfs_handle *handle);

void tfs_release_wait(struct tfs_part *part);

/* Before a partition's size or content is told. Nothing but one load, nearly always. */
static inline void tfs_release_await(struct tfs_part *part)
{
    if (atomic_load_explicit(&part->releasing, memory_order_relaxed) > 0)
        tfs_release_wait(part);
}

#endif
