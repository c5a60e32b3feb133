/* The hidden trees: directories and files beside the topics (`.at`, `.segments`, `.trash`). A kind of directory or file
 * in one is a struct tfs_tree, its functions; a node of that kind has an item, whose meaning is the kind's own. A node
 * holds a reference on its directory's, so an item may borrow from those above it.
 *
 * Files in them never change once they are there, so the kernel may keep their pages. Functions return 0 or -errno and
 * run in any thread. */
#ifndef TFS_TREE_H
#define TFS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "listing.h"
#include "node.h"

struct fuse_req;
struct stat;
struct tlog_segment_file;

struct tfs_tree {
    bool directory;
    int refusal;          /* of every change that has no function below */
    double entry_seconds; /* how long the kernel may believe the name, */
    double attr_seconds;  /* and what stat(2) told */

    /* st_ino, st_blksize and st_nlink are filled in already. */
    int (*stat)(struct tfs *fs, struct tfs_node *node, struct stat *out);
    /* Whether an item found anew is the one that a node has. */
    bool (*same)(const void *item, const void *found);
    /* Frees an item; may be NULL. */
    void (*drop)(struct tfs *fs, void *item);
    /* A node is opened and closed, directory or file; *file is a file's own, for read. May be NULL for directories. */
    int (*open)(struct tfs *fs, struct tfs_node *node, void **file);
    void (*close)(struct tfs *fs, struct tfs_node *node, void *file);

    /* of directories; `caller` is the process (or thread of one) that asks */
    int (*find)(struct tfs *fs, struct tfs_node *node, const char *name, pid_t caller, struct tfs_node **out);
    int (*list)(struct tfs *fs, struct tfs_node *node, struct tfs_listing *to);
    int (*unlink)(struct tfs *fs, struct tfs_node *node, const char *name); /* may be NULL */
    int (*rmdir)(struct tfs *fs, struct tfs_node *node, const char *name);  /* may be NULL */

    /* of files: answers the request; fewer bytes only at the end of the file */
    void (*read)(struct fuse_req *req, struct tfs_node *node, void *file, size_t bytes, uint64_t offset);
};

/* The tree of that name in the root or a topic's directory: its node; -ENOENT there is none. */
int tfs_tree_find_top(struct tfs *fs, struct tfs_node *directory, const char *name, struct tfs_node **out);
/* Whether there is one. */
bool tfs_tree_named(const char *name, enum tfs_kind directory);
/* Items that are nothing, or the same when they are the same pointer. */
bool tfs_tree_same(const void *item, const void *found);
/* The number of something of that name in a directory. */
uint64_t tfs_tree_ino(const struct tfs_node *directory, const char *name);
/* `read` and `close` where what `open` gave is a struct tlog_segment_file. */
void tfs_tree_read_file(struct fuse_req *req, struct tfs_node *node, void *file, size_t bytes, uint64_t offset);
void tfs_tree_close_file(struct tfs *fs, struct tfs_node *node, void *file);

extern const struct tfs_tree tfs_segments_tree; /* segments.c */
extern const struct tfs_tree tfs_at_tree;       /* snapshot.c */
extern const struct tfs_tree tfs_trash_tree;    /* trash.c */

#endif
