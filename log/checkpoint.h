/* The checkpoint: where every partition stood when its files were last synced, so that a start need not read
 * them. A file replaced by rename, checksummed; format in topicfs-format(5). */
#ifndef TLOG_CHECKPOINT_H
#define TLOG_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "log/clock.h"
#include "log/io.h"

struct tlog_checkpoint_row {
    uint8_t topic_id[16];
    uint32_t partition;
    bool failed;          /* a sync of its files had failed */
    uint64_t synced, end; /* pos */
    uint64_t segment_pos; /* of the active segment */
    uint64_t start;       /* pos: what lies below was trimmed */
    uint64_t start_seq;
    uint64_t segments_hash; /* of the segments from `start` to `segment_pos`; 0: not to be relied on */
    uint64_t log_inode, idx_inode;
};

struct tlog_checkpoint {
    char boot_id[64];
    uint8_t store_id[16];
    uint64_t lsn;                     /* the first journal record that is needed */
    struct tlog_clock_mark clock;     /* in that boot */
    struct tlog_checkpoint_row *rows; /* sorted by topic_id and partition */
    size_t count;
};

/* Writes it durably to PATH/checkpoint. */
int tlog_checkpoint_write(const struct tlog_io *io, const char *path, struct tlog_checkpoint *checkpoint);
/* -ENOENT none, -EBADMSG damaged. `rows` are to be freed. */
int tlog_checkpoint_read(const struct tlog_io *io, const char *path, struct tlog_checkpoint *out);
/* The row of a partition or NULL. */
const struct tlog_checkpoint_row *tlog_checkpoint_find(const struct tlog_checkpoint *checkpoint,
                                                       const uint8_t topic_id[16], uint32_t partition);

#endif
