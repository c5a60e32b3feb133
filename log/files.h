/* The store's small files and directories. Any thread, no locks. */
#ifndef TLOG_FILES_H
#define TLOG_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "log/io.h"
#include "log/topiclog.h"

enum { TLOG_NAME_BYTES = 4096 /* of a path */ };

/* The small files: attr and removed. */
int tlog_attr_read(const struct tlog_io *io, const char *dir, struct tlog_attr *attr, int64_t *mtime_ns,
                   uint64_t *mtime_end);
int tlog_attr_write(const struct tlog_io *io, const char *dir, const struct tlog_attr *attr, int64_t mtime_ns,
                    uint64_t mtime_end);

/* Reads a whole small file, NUL-terminated, to be freed; replaces one, durably. */
int tlog_file_read(const struct tlog_io *io, const char *path, char **out, size_t *bytes);
int tlog_file_replace(const struct tlog_io *io, const char *dir, const char *name, const void *data, size_t bytes);
/* Makes a file whose being there is all that counts: on a disk that refuses syncs it is at least there for the next
 * start in this boot. */
int tlog_file_mark(const struct tlog_io *io, const char *dir, const char *name, const char *text);

/* Removes a directory and all that is in it, as far as it can. */
void tlog_tree_remove(const struct tlog_io *io, const char *dir);

#endif
