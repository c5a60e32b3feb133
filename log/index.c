#include "log/index.h"

#include <errno.h>

#include "log/bytes.h"

static const uint8_t magic[4] = {'T', 'L', 'I', 'X'};

void tlog_index_header_encode(uint8_t to[TLOG_INDEX_HEADER_BYTES], const struct tlog_index_header *header)
{
    memcpy(to, magic, sizeof magic);
    tlog_put_u32(to + 4, TLOG_INDEX_VERSION);
    memcpy(to + 8, header->topic_id, 16);
    tlog_put_u64(to + 24, header->pos);
    tlog_put_u64(to + 32, header->seq);
    tlog_put_u64(to + 40, header->chain);
    tlog_put_u64(to + 48, (uint64_t)header->time_ns);
    tlog_put_u64(to + 56, tlog_hash(to, 56, 0));
}

int tlog_index_header_decode(struct tlog_index_header *to, const uint8_t from[TLOG_INDEX_HEADER_BYTES])
{
    if (memcmp(from, magic, sizeof magic) != 0 || tlog_get_u64(from + 56) != tlog_hash(from, 56, 0))
        return -EBADMSG;
    if (tlog_get_u32(from + 4) != TLOG_INDEX_VERSION)
        return -ENOTSUP;
    memcpy(to->topic_id, from + 8, 16);
    to->pos = tlog_get_u64(from + 24);
    to->seq = tlog_get_u64(from + 32);
    to->chain = tlog_get_u64(from + 40);
    to->time_ns = (int64_t)tlog_get_u64(from + 48);
    return 0;
}

void tlog_entry_encode(uint8_t to[TLOG_ENTRY_BYTES], const struct tlog_entry *entry)
{
    tlog_put_u64(to, entry->pos);
    tlog_put_u64(to + 8, entry->seq);
    tlog_put_u64(to + 16, (uint64_t)entry->time_ns);
    tlog_put_u32(to + 24, entry->length_bytes);
    tlog_put_u32(to + 28, entry->records);
    tlog_put_u32(to + 32, entry->epoch);
    tlog_put_u32(to + 36, entry->flags);
    tlog_put_u64(to + 40, entry->producer);
    tlog_put_u32(to + 48, entry->producer_seq);
    tlog_put_u32(to + 52, entry->leader);
    tlog_put_u64(to + 56, entry->chain);
}

void tlog_entry_decode(struct tlog_entry *to, const uint8_t from[TLOG_ENTRY_BYTES])
{
    to->pos = tlog_get_u64(from);
    to->seq = tlog_get_u64(from + 8);
    to->time_ns = (int64_t)tlog_get_u64(from + 16);
    to->length_bytes = tlog_get_u32(from + 24);
    to->records = tlog_get_u32(from + 28);
    to->epoch = tlog_get_u32(from + 32);
    to->flags = tlog_get_u32(from + 36);
    to->producer = tlog_get_u64(from + 40);
    to->producer_seq = tlog_get_u32(from + 48);
    to->leader = tlog_get_u32(from + 52);
    to->chain = tlog_get_u64(from + 56);
}

uint64_t tlog_entry_chain(const struct tlog_entry *entry, uint64_t data_hash)
{
    uint8_t bytes[TLOG_ENTRY_BYTES];
    tlog_entry_encode(bytes, entry);
    return tlog_hash(bytes, TLOG_ENTRY_BYTES - 8, data_hash);
}

uint64_t tlog_root_chain(const uint8_t topic_id[16], uint32_t partition)
{
    uint8_t bytes[20];
    memcpy(bytes, topic_id, 16);
    tlog_put_u32(bytes + 16, partition);
    return tlog_hash(bytes, sizeof bytes, 0);
}

bool tlog_entry_follows(const struct tlog_entry *entry, uint64_t pos, uint64_t seq, int64_t time_ns)
{
    return entry->pos == pos && entry->seq == seq && entry->time_ns >= time_ns &&
           (entry->flags & ~(uint32_t)TLOG_ENTRY_FLAGS) == 0 &&
           (entry->length_bytes > 0 ? entry->records > 0 : entry->flags & TLOG_ENTRY_EPOCH);
}
