/* The payload of a group of entries: a column a field, then the chains that are kept.
 *
 * A column is a base and the differences from it, cut into planes: the lowest bytes of all values, then the next
 * ones, as many as the largest difference needs. A plane goes through zstd by itself, since the low bytes of a time
 * are noise and its high ones are not; a plane that does not get smaller stands as it is, and a field that is the
 * same everywhere takes two bytes. pos and seq follow from lengths and records. */
#include <stdlib.h>
#include <zstd.h>

#include "log/sealed_format.h"

enum { PLANE_LEVEL = 3, VARINT_BYTES = 10, PLANES = 8 };

uint8_t *tlog_buffer_room(struct tlog_buffer *buffer, size_t bytes)
{
    if (buffer->capacity - buffer->bytes < bytes) {
        size_t capacity = buffer->capacity * 2 > buffer->bytes + bytes ? buffer->capacity * 2 : buffer->bytes + bytes;
        uint8_t *grown = realloc(buffer->data, capacity);
        if (!grown)
            return NULL;
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->bytes;
}

/* ---- numbers of seven bits a byte, low ones first ---- */

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        to[n++] = (uint8_t)(value | 128);
    to[n++] = (uint8_t)value;
    return n;
}

struct reader {
    const uint8_t *at;
    size_t left;
    ZSTD_DCtx *context;
};

static int get_varint(struct reader *reader, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && reader->left > 0; shift += 7) {
        uint8_t byte = *reader->at++;
        reader->left--;
        if (shift == 63 && byte > 1)
            return -EBADMSG;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return 0;
    }
    return -EBADMSG;
}

/* ---- columns ---- */

static int put_column(struct tlog_buffer *to, const uint64_t *values, uint32_t count)
{
    uint8_t plane[TLOG_GROUP_ENTRIES];
    uint64_t base = values[0], most = 0;
    for (uint32_t i = 1; i < count; i++)
        base = values[i] < base ? values[i] : base;
    for (uint32_t i = 0; i < count; i++)
        most = values[i] - base > most ? values[i] - base : most;
    unsigned width = 0;
    while (width < PLANES && most >> 8 * width != 0)
        width++;
    size_t bound = ZSTD_compressBound(count);
    uint8_t *at = tlog_buffer_room(to, VARINT_BYTES + 1 + width * (VARINT_BYTES + bound));
    if (!at)
        return -ENOMEM;
    const uint8_t *from = at;
    at += put_varint(at, base);
    *at++ = (uint8_t)width;
    for (unsigned p = 0; p < width; p++) {
        for (uint32_t i = 0; i < count; i++)
            plane[i] = (uint8_t)((values[i] - base) >> 8 * p);
        size_t n = ZSTD_compress(at + VARINT_BYTES, bound, plane, count, PLANE_LEVEL);
        const uint8_t *what = at + VARINT_BYTES;
        if (ZSTD_isError(n) || n >= count) {
            n = count;
            what = plane;
        }
        at += put_varint(at, n);
        memmove(at, what, n);
        at += n;
    }
    to->bytes += (size_t)(at - from);
    return 0;
}

static int get_column(struct reader *from, uint64_t *values, uint32_t count)
{
    uint8_t plane[TLOG_GROUP_ENTRIES];
    uint64_t base, n;
    int r = get_varint(from, &base);
    if (r < 0 || from->left == 0 || *from->at > PLANES)
        return -EBADMSG;
    unsigned width = *from->at++;
    from->left--;
    for (uint32_t i = 0; i < count; i++)
        values[i] = base;
    for (unsigned p = 0; p < width; p++) {
        r = get_varint(from, &n);
        if (r < 0 || n > from->left || n > count)
            return -EBADMSG;
        const uint8_t *bytes = from->at;
        if (n < count) {
            if (ZSTD_decompressDCtx(from->context, plane, count, bytes, n) != count)
                return -EBADMSG;
            bytes = plane;
        }
        for (uint32_t i = 0; i < count; i++)
            values[i] += (uint64_t)bytes[i] << 8 * p;
        from->at += n;
        from->left -= n;
    }
    return 0;
}

/* Producers are long random numbers, few of them: a table of them, then a column of numbers in it. */
static int put_producers(struct tlog_buffer *to, const struct tlog_entry *entries, uint64_t *numbers, uint32_t count)
{
    uint32_t known = 0;
    uint64_t *table = malloc(count * sizeof *table);
    if (!table)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = i > 0 && entries[i].producer == entries[i - 1].producer ? (uint32_t)numbers[i - 1] : 0;
        while (k < known && table[k] != entries[i].producer)
            k++;
        if (k == known)
            table[known++] = entries[i].producer;
        numbers[i] = k;
    }
    uint8_t *at = tlog_buffer_room(to, VARINT_BYTES + known * 8);
    if (at) {
        size_t n = put_varint(at, known);
        for (uint32_t k = 0; k < known; k++, n += 8)
            tlog_put_u64(at + n, table[k]);
        to->bytes += n;
    }
    free(table);
    return at ? put_column(to, numbers, count) : -ENOMEM;
}

static int get_producers(struct reader *from, struct tlog_entry *entries, uint64_t *numbers, uint32_t count)
{
    uint64_t known;
    int r = get_varint(from, &known);
    if (r < 0 || known > count || known > from->left / 8)
        return -EBADMSG;
    const uint8_t *table = from->at;
    from->at += known * 8;
    from->left -= known * 8;
    r = get_column(from, numbers, count);
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        if (numbers[i] >= known)
            return -EBADMSG;
        entries[i].producer = tlog_get_u64(table + numbers[i] * 8);
    }
    return r;
}

/* ---- fields as columns of their own ---- */

enum field { LENGTH, RECORDS, TIME, EPOCH, LEADER, FLAGS, FIELDS };

static uint64_t get_field(const struct tlog_entry *entry, enum field field, int64_t time_before_ns)
{
    switch (field) {
    case LENGTH:
        return entry->length_bytes;
    case RECORDS:
        return entry->records;
    case TIME:
        return (uint64_t)entry->time_ns - (uint64_t)time_before_ns;
    case EPOCH:
        return entry->epoch;
    case LEADER:
        return entry->leader;
    default:
        return entry->flags;
    }
}

static int set_field(struct tlog_entry *entry, enum field field, int64_t time_before_ns, uint64_t value)
{
    uint32_t *to = field == LENGTH    ? &entry->length_bytes
                   : field == RECORDS ? &entry->records
                   : field == EPOCH   ? &entry->epoch
                   : field == LEADER  ? &entry->leader
                                      : &entry->flags;
    if (field == TIME) {
        entry->time_ns = (int64_t)((uint64_t)time_before_ns + value);
        return 0;
    }
    *to = (uint32_t)value;
    return value > UINT32_MAX ? -EBADMSG : 0;
}

static bool keeps_chain(const struct tlog_entry *entry, uint64_t segment_pos)
{
    const struct tlog_entry *next = entry + 1;
    return tlog_sealed_frame_of(segment_pos, entry->pos + entry->length_bytes) !=
           tlog_sealed_frame_of(segment_pos, next->pos + next->length_bytes);
}

int tlog_group_encode(struct tlog_buffer *to, uint64_t segment_pos, const struct tlog_point *before,
                      const struct tlog_entry *entries, uint32_t count)
{
    uint64_t *values = malloc(count * sizeof *values);
    if (!values)
        return -ENOMEM;
    int r = 0;
    for (int field = 0; r == 0 && field < FIELDS; field++) {
        for (uint32_t i = 0; i < count; i++)
            values[i] = get_field(&entries[i], field, i > 0 ? entries[i - 1].time_ns : before->time_ns);
        r = put_column(to, values, count);
    }
    if (r == 0)
        r = put_producers(to, entries, values, count);
    for (uint32_t i = 0; i < count; i++)
        values[i] = entries[i].producer_seq - (i > 0 ? entries[i - 1].producer_seq : 0);
    for (uint32_t i = 0; i < count; i++)
        values[i] &= UINT32_MAX;
    if (r == 0)
        r = put_column(to, values, count);
    free(values);
    for (uint32_t i = 0; r == 0 && i + 1 < count; i++) {
        if (!keeps_chain(&entries[i], segment_pos))
            continue;
        uint8_t *at = tlog_buffer_room(to, 8);
        if (!at)
            return -ENOMEM;
        tlog_put_u64(at, entries[i].chain);
        to->bytes += 8;
    }
    return r;
}

/* Fills in what follows from the rest, and checks each entry against the one before. */
static int chain_up(struct reader *from, uint64_t segment_pos, const struct tlog_point *before,
                    const struct tlog_point *after, struct tlog_entry *entries, uint32_t count)
{
    struct tlog_point at = *before;
    for (uint32_t i = 0; i < count; i++) {
        struct tlog_entry *entry = &entries[i];
        entry->pos = at.pos;
        entry->seq = at.seq;
        if (!tlog_entry_follows(entry, at.pos, at.seq, at.time_ns) || entry->length_bytes > after->pos - at.pos ||
            entry->records > after->seq - at.seq)
            return -EBADMSG;
        at = tlog_point_after(entry);
    }
    for (uint32_t i = 0; i + 1 < count; i++) {
        entries[i].chain = 0;
        if (!keeps_chain(&entries[i], segment_pos))
            continue;
        if (from->left < 8)
            return -EBADMSG;
        entries[i].chain = tlog_get_u64(from->at);
        from->at += 8;
        from->left -= 8;
    }
    entries[count - 1].chain = after->chain;
    return from->left == 0 && at.pos == after->pos && at.seq == after->seq && at.time_ns == after->time_ns &&
                   at.epoch == after->epoch && at.leader == after->leader
               ? 0
               : -EBADMSG;
}

int tlog_group_decode(const uint8_t *from, size_t bytes, uint64_t segment_pos, const struct tlog_point *before,
                      const struct tlog_point *after, struct tlog_entry *out, uint32_t count)
{
    struct reader reader = {from, bytes, ZSTD_createDCtx()};
    uint64_t *values = malloc(count * sizeof *values);
    int r = values && reader.context ? 0 : -ENOMEM;
    for (int field = 0; r == 0 && field < FIELDS; field++) {
        r = get_column(&reader, values, count);
        for (uint32_t i = 0; r == 0 && i < count; i++)
            r = set_field(&out[i], field, i > 0 ? out[i - 1].time_ns : before->time_ns, values[i]);
    }
    if (r == 0)
        r = get_producers(&reader, out, values, count);
    if (r == 0)
        r = get_column(&reader, values, count);
    for (uint32_t i = 0; r == 0 && i < count; i++)
        out[i].producer_seq = (uint32_t)(values[i] + (i > 0 ? out[i - 1].producer_seq : 0));
    free(values);
    ZSTD_freeDCtx(reader.context);
    return r < 0 ? r : chain_up(&reader, segment_pos, before, after, out, count);
}
