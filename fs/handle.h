/* Open files: what the kernel calls fh. One per open file description, which dup and fork share.
 *
 * `lock` guards what is not said otherwise; the kernel serialises writes on an inode, but not flushes with them. */
#ifndef TFS_HANDLE_H
#define TFS_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "framer.h"
#include "notify.h"

struct fuse_file_info;
struct tfs;
struct tfs_node;
struct tfs_part;
struct tfs_text;
struct tlog_writer;

struct tfs_handle {
    struct tfs_node *node; /* a reference */
    struct tfs_part *part; /* the node's; NULL: not a partition */
    bool readable;
    pthread_mutex_t lock;

    /* writing to a partition */
    struct tlog_writer *writer; /* made by the first write */
    struct tfs_framer framer;
    bool opened_truncating, wrote;
    uint64_t next_offset; /* where the last write ended, as the writer counts */
    uint64_t told_first;  /* the first of the node's told sizes that counts as told to this one */
    /* part->lock: a release that is expected (release.h) */
    atomic_bool expected;
    unsigned expected_round;

    /* reading a partition: hints, no order between them */
    _Atomic uint64_t read_end; /* where the last read ended */
    _Atomic uint64_t told_end; /* the size at which end of file was last told */
    struct tfs_poller poller;

    struct tfs_text *text; /* a virtual file */
    void *file;            /* a tree's file: its own */

    struct tfs_handle *next, **link; /* fs->handles_lock: all open files */
};

/* An open file on the node, `flags` as for open(2). -ESTALE: it is an old generation of a file, or of a tree, and its
 * name is to be looked up again; -ENOMEM; what reading a store's file says. */
int tfs_handle_open(struct tfs *fs, struct tfs_node *node, int flags, struct tfs_handle **out);
/* The last close: ends what is unfinished as a line, drops its locks, frees. */
void tfs_handle_close(struct tfs *fs, struct tfs_handle *handle);
/* Closes all, at the end of the daemon. */
void tfs_handles_close(struct tfs *fs);
/* Ends the unfinished lines of all open files of a partition, which is about to be deleted. */
void tfs_handles_end_lines(struct tfs *fs, const struct tfs_part *part);

static inline struct tfs_handle *tfs_handle_of(uint64_t fh)
{
    return (struct tfs_handle *)(uintptr_t)fh;
}

#endif
