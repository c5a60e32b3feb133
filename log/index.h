/* The .idx file: a 64-byte header, then 64-byte entries, little-endian. See topicfs-format(5).
 *
 * Pure functions, any thread. */
#ifndef TLOG_INDEX_H
#define TLOG_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "log/topiclog.h"

enum {
    TLOG_INDEX_VERSION = 1,
    TLOG_INDEX_HEADER_BYTES = 64,
    TLOG_ENTRY_BYTES = 64,
    TLOG_ENTRY_FLAGS = TLOG_ENTRY_EPOCH | TLOG_ENTRY_ROLL | TLOG_ENTRY_LOSSY, /* the flags this version knows */
};

/* What a segment stands on: verified alone, it needs only this. */
struct tlog_index_header {
    uint8_t topic_id[16];
    uint64_t pos, seq; /* the segment's first */
    uint64_t chain;    /* before the first entry */
    int64_t time_ns;   /* of the entry before the first; 0 for none */
};

void tlog_index_header_encode(uint8_t to[TLOG_INDEX_HEADER_BYTES], const struct tlog_index_header *header);
/* -EBADMSG not such a header or its checksum is wrong; -ENOTSUP one of a newer format. */
int tlog_index_header_decode(struct tlog_index_header *to, const uint8_t from[TLOG_INDEX_HEADER_BYTES]);

void tlog_entry_encode(uint8_t to[TLOG_ENTRY_BYTES], const struct tlog_entry *entry);
void tlog_entry_decode(struct tlog_entry *to, const uint8_t from[TLOG_ENTRY_BYTES]);

/* The chain at the end of an entry: XXH3-64 over the entry's first 56 bytes, seeded with the XXH3-64 of its
 * data, seeded with the chain before. `data_hash` is the latter. */
uint64_t tlog_entry_chain(const struct tlog_entry *entry, uint64_t data_hash);
/* The chain before a partition's first entry. */
uint64_t tlog_root_chain(const uint8_t topic_id[16], uint32_t partition);

/* Whether `entry` can follow what ends at (pos, seq, time): fields only, not the data. */
bool tlog_entry_follows(const struct tlog_entry *entry, uint64_t pos, uint64_t seq, int64_t time_ns);

#endif
