/* The hidden files .config, .offsets and .status: text made when it is asked for.
 *
 * An open file is a snapshot taken at open. What is written to a .config is checked at once, write by write, and
 * takes effect as one when the file is flushed, which close(2) waits for: after `>` (opened truncating, or written
 * from 0 on without O_APPEND) as the whole new text, after `>>` as keys to set. When a write was refused, nothing
 * that the file had not yet brought into effect will be, and its other writes are refused too until the flush. */
#ifndef TFS_VIRTUAL_H
#define TFS_VIRTUAL_H

#include <stddef.h>
#include <sys/types.h>

#include "node.h"

struct tfs_text {
    char *shown; /* the snapshot */
    size_t shown_bytes;
    /* .config, opened for writing */
    char *written; /* NUL-terminated */
    size_t written_bytes, applied_bytes;
    uint64_t next_offset;
    bool begun, replace, refused;
};

/* The text of a virtual file as of now, to be freed. */
int tfs_virtual_make(struct tfs *fs, const struct tfs_node *node, char **out, size_t *bytes);
/* The mode, from that of the directory that it stands in. */
unsigned tfs_virtual_mode(enum tfs_virtual which, unsigned directory_mode);
/* Whether a name is that of a hidden file in that kind of directory. */
bool tfs_virtual_named(const char *name, enum tfs_kind directory, enum tfs_virtual *which);

/* `flags` as for open(2). */
int tfs_text_open(struct tfs *fs, const struct tfs_node *node, int flags, struct tfs_text **out);
void tfs_text_free(struct tfs_text *text);
/* Returns `bytes`; -EINVAL a line that cannot be; -EPERM not where the last write ended; -EFBIG; -ENOMEM. */
ssize_t tfs_text_write(struct tfs_text *text, const char *data, size_t bytes, uint64_t offset, int flags);
/* Brings into effect what was written. 0, or what tlog_topic_config_set says. */
int tfs_text_flush(struct tfs *fs, const struct tfs_node *node, struct tfs_text *text);

#endif
