/* Writers and their unfinished lines ("rests").
 *
 * A rest is in the writer's memory and, before the write that brought it is answered, in the journal's page
 * cache: a kill keeps it, an fsync makes it durable. It has a name, (the store's producer, a number): the entry
 * that carries that name is the append that ended it (see append.c).
 *
 * Disk space for the line that it will become is taken from the filesystem beforehand, past the end of the
 * active segment, so that its close, which nobody hears fail, can append it. Should that fail all the same, the
 * rest waits in the journal and upkeep tries again. */
#include <errno.h>
#include <stdlib.h>

#include "log/partition.h"

int tlog_writer_open(struct tlog_writer **out, struct tlog_partition *partition)
{
    struct tlog_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return -ENOMEM;
    writer->partition = tlog_partition_ref(partition);
    *out = writer;
    return 0;
}

size_t tlog_writer_held(const struct tlog_writer *writer)
{
    return writer->held_bytes;
}

static void unlink_writer(struct tlog_writer *writer)
{
    if (!writer->link)
        return;
    *writer->link = writer->next;
    if (writer->next)
        writer->next->link = writer->link;
    writer->link = NULL;
    writer->partition->pending_count--;
}

static void link_writer(struct tlog_writer *writer)
{
    struct tlog_partition *p = writer->partition;
    struct tlog_writer **end = &p->writers;
    while (*end)
        end = &(*end)->next;
    writer->next = NULL;
    writer->link = end;
    *end = writer;
    p->pending_count++;
}

/* The rest is no more. What the journal has of it is needed until the line that ended it is in synced files. */
static void forget(struct tlog_writer *writer)
{
    tlog_partition_needs(writer->partition, writer->first_lsn);
    writer->first_lsn = 0;
    writer->partition->pending -= writer->held_bytes;
    writer->held_bytes = 0;
    unlink_writer(writer);
    if (writer->capacity > 64 << 10) {
        free(writer->held);
        writer->held = NULL;
        writer->capacity = 0;
    }
}

static int grow(struct tlog_writer *writer, size_t bytes)
{
    if (bytes <= writer->capacity)
        return 0;
    size_t capacity = writer->capacity ? writer->capacity : 256;
    while (capacity < bytes)
        capacity *= 2;
    char *held = realloc(writer->held, capacity);
    if (!held)
        return -ENOMEM;
    writer->held = held;
    writer->capacity = capacity;
    return 0;
}

/* Tells the journal of bytes of a rest, `before` of which it knows; in pieces that fit its files. */
static int journal_rest(struct tlog_writer *writer, uint32_t producer_seq, size_t before, const char *data,
                        size_t bytes, uint64_t *first_lsn)
{
    struct tlog_partition *p = writer->partition;
    size_t most = p->ground->journal.file_bytes / 4;
    *first_lsn = 0;
    while (bytes > 0) {
        uint8_t head[24];
        size_t piece = bytes < most ? bytes : most;
        tlog_put_u64(head, p->ground->producer);
        tlog_put_u32(head + 8, producer_seq);
        tlog_put_u32(head + 12, (uint32_t)before);
        tlog_put_u64(head + 16, p->end);
        struct iovec parts[] = {{head, sizeof head}, {(void *)(uintptr_t)data, piece}};
        uint64_t lsn;
        int r = tlog_journal_write(&p->ground->journal, TLOG_JOURNAL_REST, p->topic->id, p->number, parts, 2, &lsn);
        if (r < 0)
            return r;
        p->rest_lsn = lsn;
        if (*first_lsn == 0)
            *first_lsn = lsn;
        before += piece;
        data += piece;
        bytes -= piece;
    }
    return 0;
}

static void journal_drop(struct tlog_partition *p, uint32_t producer_seq)
{
    uint8_t body[12];
    tlog_put_u64(body, p->ground->producer);
    tlog_put_u32(body + 8, producer_seq);
    struct iovec part = {body, sizeof body};
    uint64_t lsn;
    if (tlog_journal_write(&p->ground->journal, TLOG_JOURNAL_DROP, p->topic->id, p->number, &part, 1, &lsn) == 0)
        p->rest_lsn = lsn; /* an fsync waits for it, as for a rest */
}

/* Appends the rest and `length` bytes after it as records. */
static int append_whole(struct tlog_writer *writer, const void *data, size_t length, uint32_t records, bool raw,
                        bool no_roll)
{
    struct iovec parts[] = {{writer->held, writer->held_bytes}, {(void *)(uintptr_t)data, length}};
    bool rest = writer->held_bytes > 0;
    struct tlog_append append = {
        .parts = rest ? parts : parts + 1,
        .count = rest ? 2 : 1,
        .bytes = writer->held_bytes + length,
        .records = records,
        .producer = writer->partition->ground->producer,
        .producer_seq = rest ? writer->producer_seq : 0,
        .own_entry = rest || raw,
        .no_roll = no_roll,
    };
    int r = tlog_append_locked(writer->partition, &append);
    if (r == 0)
        forget(writer);
    return r;
}

/* Adds bytes to the rest: to the journal first, then to memory, which has room. */
static int hold(struct tlog_writer *writer, const char *data, size_t bytes)
{
    struct tlog_partition *p = writer->partition;
    uint32_t producer_seq = writer->held_bytes > 0 ? writer->producer_seq : p->next_rest + 1;
    uint64_t first_lsn;
    tlog_partition_dirtied(p); /* before the record is written: upkeep must know who needs it */
    int r = journal_rest(writer, producer_seq, writer->held_bytes, data, bytes, &first_lsn);
    if (r < 0) {
        if (writer->held_bytes == 0 && first_lsn != 0) { /* a part of it is there */
            journal_drop(p, producer_seq);
            p->next_rest = producer_seq;
        }
        return r;
    }
    if (writer->held_bytes == 0) {
        writer->producer_seq = p->next_rest = producer_seq;
        writer->first_lsn = first_lsn;
        link_writer(writer);
    }
    memcpy(writer->held + writer->held_bytes, data, bytes);
    writer->held_bytes += bytes;
    p->pending += bytes;
    return 0;
}

static ssize_t append_locked(struct tlog_writer *writer, const char *data, size_t length, size_t whole,
                             uint32_t records)
{
    struct tlog_partition *p = writer->partition;
    size_t tail = length - whole, ends = whole ? writer->held_bytes : 0;
    int64_t quota = tlog_value(p->topic, TLOG_QUOTA_BYTES);
    uint64_t pending = p->pending - ends + tail;
    uint32_t count = p->pending_count - (ends > 0) + (tail > 0 && (whole > 0 || writer->held_bytes == 0));
    int r = tlog_partition_refuses(p);
    if (r == 0 && quota >= 0 && p->end - p->start + p->pending + length + count > (uint64_t)quota)
        r = -EDQUOT;
    if (r == 0)
        r = grow(writer, (whole ? 0 : writer->held_bytes) + tail);
    if (r == 0)
        r = tlog_reserve(p, ends + whole, pending, count);
    if (r < 0)
        return r;
    if (whole > 0) {
        bool raw = tlog_value(p->topic, TLOG_MESSAGE_FORMAT) == TLOG_FORMAT_RAW;
        r = append_whole(writer, data, whole, records, raw, false);
        if (r < 0)
            return r;
    }
    if (tail == 0)
        return (ssize_t)length;
    r = grow(writer, writer->held_bytes + tail);
    if (r == 0)
        r = tlog_reserve(p, 0, p->pending + tail, count); /* the append may have begun a segment */
    if (r == 0)
        r = hold(writer, data + whole, tail);
    if (r < 0)
        return whole > 0 ? (ssize_t)whole : r;
    return (ssize_t)length;
}

static void tell_grown(struct tlog_partition *p)
{
    if (atomic_load_explicit(&p->watched, memory_order_relaxed) && p->ground->options.grown)
        p->ground->options.grown(p->ground->options.arg, p);
}

ssize_t tlog_writer_append(struct tlog_writer *writer, const void *data, size_t length, size_t whole, uint32_t records)
{
    struct tlog_partition *p = writer->partition;
    if (length == 0)
        return 0;
    tlog_append_lock(p);
    ssize_t n = append_locked(writer, data, length, whole, records);
    pthread_mutex_unlock(&p->lock);
    if (n > 0 && whole > 0)
        tell_grown(p);
    return n;
}

void tlog_writer_drop(struct tlog_writer *writer)
{
    struct tlog_partition *p = writer->partition;
    pthread_mutex_lock(&p->lock);
    if (writer->held_bytes > 0) {
        journal_drop(p, writer->producer_seq);
        forget(writer);
    }
    pthread_mutex_unlock(&p->lock);
}

static void writer_free(struct tlog_writer *writer)
{
    free(writer->held);
    free(writer);
}

/* Ends the rest as a line. 0 also when there is none. */
static int end_rest(struct tlog_writer *writer)
{
    struct tlog_partition *p = writer->partition;
    if (writer->held_bytes == 0)
        return 0;
    int r = tlog_partition_refuses(p);
    return r < 0 ? r : append_whole(writer, "\n", 1, 1, false, true);
}

void tlog_writer_close(struct tlog_writer *writer)
{
    struct tlog_partition *p = writer->partition;
    tlog_append_lock(p);
    bool grew = writer->held_bytes > 0;
    int r = end_rest(writer);
    writer->closed = r < 0;
    if (r < 0 && p->deleted) {
        forget(writer);
        writer->closed = false;
    }
    bool waits = writer->closed;
    if (!waits)
        writer_free(writer);
    pthread_mutex_unlock(&p->lock);
    if (grew && !waits)
        tell_grown(p);
    tlog_partition_unref(p); /* one that waits is the partition's now */
}

void tlog_writers_retry(struct tlog_partition *p)
{
    struct tlog_writer *writer = p->writers;
    if (atomic_load(&p->ground->gate_shut)) /* a cut is under way: in the next round */
        return;
    while (writer) {
        struct tlog_writer *next = writer->next;
        if (writer->closed && end_rest(writer) == 0)
            writer_free(writer);
        writer = next;
    }
}

int tlog_writers_carry(struct tlog_partition *p, uint64_t lsn)
{
    for (struct tlog_writer *writer = p->writers; writer; writer = writer->next) {
        uint64_t first_lsn;
        if (writer->first_lsn >= lsn)
            continue;
        int r = journal_rest(writer, writer->producer_seq, 0, writer->held, writer->held_bytes, &first_lsn);
        if (r < 0)
            return r;
        writer->first_lsn = first_lsn;
    }
    return 0;
}

void tlog_writers_end(struct tlog_partition *p)
{
    struct tlog_writer *writer = p->writers;
    while (writer) {
        struct tlog_writer *next = writer->next;
        if (end_rest(writer) == 0 && writer->closed)
            writer_free(writer);
        writer = next;
    }
}
