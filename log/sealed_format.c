#include "log/sealed_format.h"

static const uint8_t magic[4] = {'T', 'L', 'S', 'X'};

void tlog_sealed_head_encode(uint8_t to[TLOG_HEAD_BYTES], const struct tlog_sealed_head *head)
{
    memcpy(to, magic, sizeof magic);
    tlog_put_u32(to + 4, TLOG_SEALED_VERSION);
    tlog_index_header_encode(to + 8, &head->header);
    tlog_put_u64(to + 72, head->end.pos);
    tlog_put_u64(to + 80, head->end.seq);
    tlog_put_u64(to + 88, head->end.chain);
    tlog_put_u64(to + 96, (uint64_t)head->end.time_ns);
    tlog_put_u32(to + 104, head->end.epoch);
    tlog_put_u32(to + 108, head->end.leader);
    tlog_put_u64(to + 112, head->entries);
    tlog_put_u32(to + 120, TLOG_FRAME_BYTES);
    tlog_put_u32(to + 124, head->frames);
    tlog_put_u32(to + 128, head->groups);
    tlog_put_u32(to + 132, 0);
}

int tlog_sealed_head_decode(struct tlog_sealed_head *to, const uint8_t from[TLOG_HEAD_BYTES])
{
    if (memcmp(from, magic, sizeof magic) != 0)
        return -EBADMSG;
    if (tlog_get_u32(from + 4) != TLOG_SEALED_VERSION)
        return -ENOTSUP;
    int r = tlog_index_header_decode(&to->header, from + 8);
    if (r < 0)
        return r;
    to->end.pos = tlog_get_u64(from + 72);
    to->end.seq = tlog_get_u64(from + 80);
    to->end.chain = tlog_get_u64(from + 88);
    to->end.time_ns = (int64_t)tlog_get_u64(from + 96);
    to->end.epoch = tlog_get_u32(from + 104);
    to->end.leader = tlog_get_u32(from + 108);
    to->entries = tlog_get_u64(from + 112);
    to->frames = tlog_get_u32(from + 124);
    to->groups = tlog_get_u32(from + 128);
    return tlog_get_u32(from + 120) == TLOG_FRAME_BYTES ? 0 : -EBADMSG;
}

void tlog_sealed_row_encode(uint8_t to[TLOG_ROW_BYTES], const struct tlog_sealed_row *row)
{
    tlog_put_u64(to, row->before.pos);
    tlog_put_u64(to + 8, row->before.seq);
    tlog_put_u64(to + 16, row->before.chain);
    tlog_put_u64(to + 24, (uint64_t)row->before.time_ns);
    tlog_put_u32(to + 32, row->before.epoch);
    tlog_put_u32(to + 36, row->before.leader);
    tlog_put_u32(to + 40, row->entries);
    tlog_put_u32(to + 44, 0);
    tlog_put_u32(to + 48, row->offset);
    tlog_put_u32(to + 52, row->bytes);
    tlog_put_u64(to + 56, row->hash);
}

void tlog_sealed_row_decode(struct tlog_sealed_row *to, const uint8_t from[TLOG_ROW_BYTES])
{
    to->before.pos = tlog_get_u64(from);
    to->before.seq = tlog_get_u64(from + 8);
    to->before.chain = tlog_get_u64(from + 16);
    to->before.time_ns = (int64_t)tlog_get_u64(from + 24);
    to->before.epoch = tlog_get_u32(from + 32);
    to->before.leader = tlog_get_u32(from + 36);
    to->entries = tlog_get_u32(from + 40);
    to->offset = tlog_get_u32(from + 48);
    to->bytes = tlog_get_u32(from + 52);
    to->hash = tlog_get_u64(from + 56);
}
