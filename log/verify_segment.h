/* Verification of one segment, in the forms that it has, by itself: what it goes on from is for the caller to compare.
 *
 * Any thread; each segment belongs to one at a time. */
#ifndef TLOG_VERIFY_SEGMENT_H
#define TLOG_VERIFY_SEGMENT_H

#include <stdatomic.h>

#include "log/checkpoint.h"
#include "log/partition.h"

enum { TLOG_VERIFY_NAME_BYTES = 512 };

/* What all segments share. Constant but for the count. */
struct tlog_verify_ground {
    const struct tlog_io *io;
    const char *path;
    struct tlog_checkpoint checkpoint;
    bool other_boot; /* the store has not been recovered since a boot */
    _Atomic uint64_t done_bytes;
};

struct tlog_verify_segment {
    struct tlog_verify_ground *ground;
    const struct tlog_topic_head *topic;
    uint32_t partition;
    uint64_t pos;
    unsigned forms;
    bool last, raw; /* the active one; of a raw topic */

    int result;               /* -errno: it could not be read through */
    struct tlog_verify found; /* what was read in it, and how much damage */
    char *damage;             /* a line each; to be freed */
    size_t damage_bytes;
    struct tlog_point raw_header, sealed_header, end; /* what it begins on, by each form; where it ends */
    bool has_raw_header, has_sealed_header, has_end;
    bool done; /* the caller's */
};

/* Fills in what is found. */
void tlog_verify_segment(struct tlog_verify_segment *s);
/* "TOPIC/PARTITION/POS.SUFFIX". */
void tlog_verify_segment_name(const struct tlog_verify_segment *s, const char *suffix, char to[TLOG_VERIFY_NAME_BYTES]);

#endif
